"""Puts aside what the worker cannot read or has given up, on `runs.dead`.

The intake hands over unreadable messages; a job whose due run was one of them ends at once as failed, dead_lettered.
Results hands over runs that will not be tried again. A thread of its own does the work, so that nothing else waits.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from services.worker.attempt import Attempt, Failed
from shared import clock
from shared.domain.job import FailureReason
from shared.events.envelope import Event, encode, ended_id
from shared.events.topics import RUNS_RESULTS
from shared.events.types import RunFailed
from shared.kafka.consumer import Record
from shared.kafka.dead_letters import letter
from shared.kafka.producer import Delivered, Producer, QueueFull
from shared.storage import claims, subjects
from shared.storage.database import Database, DatabaseUnavailable
from shared.telemetry.logging import get_logger
from shared.telemetry.metrics import DEAD_LETTERS

log = get_logger(__name__)

CONSUMER = "worker"


@dataclass(frozen=True, slots=True)
class _Case:
    record: Record
    reason: str
    kind: str
    done: Callable[[Record], None] | None


class Undertaker:
    """One queue of dead letters."""

    def __init__(self, producer: Producer, database: Database, instance: str) -> None:
        self._producer = producer
        self._database = database
        self._source = f"/commandcenter/worker/{instance}"
        self._cases: queue.SimpleQueue[_Case | None] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="undertaker", daemon=True)
        for kind in ("unreadable", "given_up"):
            DEAD_LETTERS.labels(CONSUMER, kind)  # at zero from the start: an alert sees only what rises

    def start(self) -> None:
        """Work off the queue from now on."""
        self._thread.start()

    def unreadable(self, record: Record, reason: str, done: Callable[[Record], None]) -> None:
        """A message nobody can read. `done(record)` is called when it lies on runs.dead."""
        self._cases.put(_Case(record, reason, "unreadable", done))

    def given_up(self, attempt: Attempt, failure: Failed) -> None:
        """A run that will not be tried again; its result is published by itself."""
        sentence = f"given up after attempt {attempt.due.attempt}: {failure.reason}: {failure.error}"
        self._cases.put(_Case(attempt.record, sentence, "given_up", None))

    def close(self, seconds: float) -> None:
        """Work off what is queued, and end."""
        self._cases.put(None)
        self._ended.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while (case := self._cases.get()) is not None:
            if case.kind == "unreadable":
                log.error(
                    "Put a message aside that cannot be read",
                    action="run.dead_lettered",
                    topic=case.record.topic,
                    partition=case.record.partition,
                    offset=case.record.offset,
                    reason=case.reason,
                )
                self._end_its_job(case)
            DEAD_LETTERS.labels(CONSUMER, case.kind).inc()
            self._send(case)

    def _send(self, case: _Case) -> None:
        dead = letter(case.record, case.reason, CONSUMER, clock.now())

        def delivered(error: str | None) -> None:
            if error is not None:
                self._cases.put(case)
            elif case.done is not None:
                case.done(case.record)

        self._produce(dead.topic, dead.key, dead.headers, dead.value, delivered)

    def _produce(
        self,
        topic: str,
        key: bytes | None,
        headers: list[tuple[str, bytes | None]],
        value: bytes | None,
        delivered: Delivered | None,
    ) -> None:
        while True:
            try:
                self._producer.send_bytes(topic, key, headers, value, delivered)
                return
            except QueueFull:
                self._ended.wait(0.1)

    def _end_its_job(self, case: _Case) -> None:
        """Where the headers still tell which job it was, that job has failed: nobody will ever start it."""
        job_id = _job_id(case.record)
        if job_id is None:
            return
        while True:
            try:
                with self._database.transaction() as connection:
                    job = subjects.open_job(connection, job_id)
                    if job is None or not claims.block(
                        connection, job_id, job.attempt, job.schedule_id, job.scheduled_for, "dead-lettered:worker"
                    ):
                        return
                break
            except DatabaseUnavailable:
                if self._ended.wait(0.5):
                    return  # not put aside either: it comes again
        now = clock.now()
        data = RunFailed(
            job_id=job.job_id,
            attempt=job.attempt,
            schedule_id=job.schedule_id,
            project_id=job.project_id,
            task_type=job.task_type,
            scheduled_for=job.scheduled_for,
            finished_at=now,
            error=f"the event of this run cannot be read: {case.reason}",
            reason=FailureReason.DEAD_LETTERED,
            will_retry=False,
        )
        event_id = ended_id(job.job_id, job.attempt, "failed", "worker-dead-letters")
        message = encode(RUNS_RESULTS.name, Event(event_id, self._source, now, data, job.schedule_id, job.job_id))
        self._producer.send(message)


def _job_id(record: Record) -> int | None:
    for name, value in record.headers:
        if name == "ce_jobid" and value is not None and value.isdigit() and len(value) < 19:
            return int(value)
    return None
