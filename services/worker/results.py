"""What became of each attempt: published to `runs.results`, and once Kafka has it, noted on the claim.

The executor calls `begun` and `ended`. A thread of its own runs the acknowledgements, marks claims ended in batches,
and hands the records back to the intake, which commits their offsets: in this order, so that a crash repeats or
rescues, and never loses an end.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Any

import orjson
from pydantic import BaseModel

from services.worker.attempt import Attempt, Cancelled, Failed, NotBegun, Outcome, Succeeded
from services.worker.run_log import RunLog
from shared import clock
from shared.domain.job import FailureReason
from shared.domain.retry import RetryPolicy, delay_before_next
from shared.events.envelope import Message, ended_id, headers_of, started_id
from shared.events.topics import RUNS_RESULTS
from shared.events.types import EventData, RunCancelled, RunDue, RunFailed, RunStarted, RunSucceeded
from shared.kafka.consumer import Record
from shared.kafka.producer import Producer, QueueFull
from shared.process import Process
from shared.storage import claims
from shared.storage.database import Connection, Database, DatabaseUnavailable
from shared.telemetry.logging import get_logger
from shared.telemetry.metrics import FAULTS

log = get_logger(__name__)

_BATCH = 1_000
_LARGEST = 900_000
"""Bytes of an event that a broker takes with its usual limit of a mebibyte; a larger one would be refused for ever."""
_RETRY_SECONDS = 0.5
_OVERTAKEN_AFTER = 5.0
"""Seconds a claim may wait for its beginning, well below the group's session timeout, until it is thought passed over.
An event that comes twice starts once, so one too many does no harm."""


class Results:
    """Publishes ends and follows them until claim and offset know of them."""

    def __init__(
        self,
        producer: Producer,
        database: Database,
        process: Process,
        worker: str,
        instance: str,
        give_up: Callable[[Attempt, Failed], None],
    ) -> None:
        """`give_up(attempt, failure)` puts the run aside on runs.dead when it will not be tried again."""
        self._producer = producer
        self._database = database
        self._process = process
        self._worker = worker
        self._instance = instance
        self._source = f"/commandcenter/worker/{instance}"
        self._give_up = give_up
        self._log = RunLog()
        self._acknowledged: deque[tuple[int, int, bool, Record]] = deque()
        self._handed_back: deque[Attempt] = deque()
        self._finished: deque[Record] = deque()
        self._open: set[claims.Key] = set()
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="results", daemon=True)

    def start(self) -> None:
        """Follow acknowledgements from now on."""
        self._thread.start()

    @property
    def unacknowledged(self) -> int:
        """Ends published and not yet noted everywhere."""
        return len(self._open)

    def open(self) -> set[claims.Key]:
        """The attempts whose ends are under way."""
        with self._lock:
            return set(self._open)

    def finished(self) -> list[Record]:
        """The records whose attempts are over for good, since the last call; for the intake's thread."""
        records = []
        while self._finished:
            records.append(self._finished.popleft())
        return records

    def begun(self, attempt: Attempt) -> None:
        """Execution begins."""
        due = attempt.due
        fields = _identity(due) | {"worker": self._instance, "started_at": attempt.started_at}
        self._send(self._message(attempt, RunStarted, started_id(due.job_id, due.attempt), fields), None)

    def ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """The attempt is over."""
        with self._lock:
            self._open.add(attempt.key)
        if isinstance(outcome, NotBegun):
            self._handed_back.append(attempt)
            return
        event_type, fields = self._end(attempt, outcome, clock.now())
        message = self._end_message(attempt, event_type, fields)
        if len((message.value or "").encode()) > _LARGEST:
            sentence = "the run's end does not fit into a message: it leaves too many files"
            outcome = Failed(sentence, FailureReason.ERROR, permanent=True)
            event_type, fields = self._end(attempt, outcome, clock.now())
            message = self._end_message(attempt, event_type, fields)
        will_retry = bool(fields.get("will_retry"))
        self._log.ended(attempt, outcome, will_retry=will_retry)
        if isinstance(outcome, Failed) and not will_retry:
            self._give_up(attempt, outcome)
        self._publish(message, attempt, will_retry)

    def drain(self, seconds: float) -> int:
        """Wait until everything is acknowledged and noted; returns how much is not."""
        deadline = clock.monotonic() + seconds
        while self._open and clock.monotonic() < deadline:
            self._done.wait(0.02)
        left = len(self._open)
        self._done.set()
        self._thread.join(5.0)
        self._process.quiet("results")
        return left

    def _publish(self, message: Message, attempt: Attempt, will_retry: bool) -> None:
        def delivered(error: str | None) -> None:
            if error is None:
                self._acknowledged.append((*attempt.key, will_retry, attempt.record))
            else:
                # Nothing is known of this message: it may be in Kafka. A repeat carries the same event id.
                FAULTS.labels("worker", "result_not_delivered").inc()
                log.warning(
                    "Kafka has not taken a result yet; sending it again",
                    action="run.result_repeated",
                    schedule_id=attempt.due.schedule_id,
                    job_id=attempt.due.job_id,
                    error=error,
                )
                self._publish(message, attempt, will_retry)

        self._send(message, delivered)

    def _send(self, message: Message, delivered: Callable[[str | None], None] | None) -> None:
        while True:
            try:
                self._producer.send(message, delivered)
                return
            except QueueFull:
                self._done.wait(0.05)  # acknowledgements run on their own thread and make room

    def _follow(self) -> None:
        while not self._done.is_set() or self._acknowledged:
            self._process.beat("results", 60.0)
            self._producer.poll(0.01)
            self._note_ended()
            self._note_handed_back()
            if self._producer.fatal is not None:
                self._process.fail()
                self._done.wait(1.0)

    def _note_ended(self) -> None:
        while self._acknowledged:
            batch = [self._acknowledged[at] for at in range(min(_BATCH, len(self._acknowledged)))]
            ended = {one[:3] for one in batch}
            if not self._try(partial(claims.end, ended=ended)):
                return
            for one in batch:
                self._acknowledged.popleft()
                self._finished.append(one[3])
            self._settle(one[:2] for one in batch)

    def _note_handed_back(self) -> None:
        batch = list(self._handed_back)
        if batch and self._try(
            lambda connection: claims.hand_back(connection, self._worker, [one.key for one in batch])
        ):
            for attempt in batch:
                self._handed_back.popleft()  # its record is not finished: it comes again, here or elsewhere
                if clock.monotonic() - attempt.claimed_monotonic > _OVERTAKEN_AFTER:
                    self._send_again(attempt.record)
            self._settle(one.key for one in batch)

    def _send_again(self, record: Record) -> None:
        """This process stood still: its partition may have gone to another worker, who passed over what was claimed."""
        while True:
            try:
                self._producer.send_bytes(record.topic, record.key, record.headers, record.value)
                return
            except QueueFull:
                self._producer.poll(0.05)

    def _try(self, statement: Callable[[Connection], None]) -> bool:
        try:
            with self._database.transaction() as connection:
                statement(connection)
        except DatabaseUnavailable as error:
            log.warning("Ends cannot be noted; trying again", action="database.unavailable", error=str(error))
            self._done.wait(_RETRY_SECONDS)
            return False
        return True

    def _settle(self, keys: Iterable[claims.Key]) -> None:
        with self._lock:
            self._open.difference_update(keys)

    def _end_message(self, attempt: Attempt, event_type: type[EventData], fields: dict[str, Any]) -> Message:
        due = attempt.due
        return self._message(
            attempt, event_type, ended_id(due.job_id, due.attempt, event_type.TYPE.split(".")[-2], "worker"), fields
        )

    def _message(self, attempt: Attempt, event_type: type[EventData], event_id: str, fields: dict[str, Any]) -> Message:
        """The event as a message. Thousands a second pass here: its fields skip the model, a test holds them to it."""
        due, time = attempt.due, f"{clock.now().isoformat()[:-6]}Z"
        headers = headers_of(
            event_type.TYPE, event_id, self._source, time, due.schedule_id, due.job_id, attempt.traceparent
        )
        body = orjson.dumps(fields, default=_plain, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS).decode()
        return Message(RUNS_RESULTS.name, str(due.schedule_id), headers, body)

    def _end(
        self, attempt: Attempt, outcome: Succeeded | Failed | Cancelled, now: datetime
    ) -> tuple[type[EventData], dict[str, Any]]:
        """The type and the fields of the event that tells an outcome."""
        due, started = attempt.due, attempt.started_at
        fields = _identity(due) | {
            "worker": self._instance,
            "started_at": started,
            "finished_at": now,
            "duration_seconds": None if started is None else max(0.0, clock.monotonic() - attempt.started_monotonic),
        }
        match outcome:
            case Succeeded(result, artifacts):
                return RunSucceeded, fields | {"result": result, "artifacts": artifacts}
            case Cancelled(reason):
                return RunCancelled, fields | {"reason": reason}
            case Failed():
                delay = delay_before_next(
                    RetryPolicy(due.max_attempts, due.retry_first_seconds, due.retry_cap_seconds),
                    due.job_id,
                    due.attempt,
                    permanent=outcome.permanent,
                    retry_after=outcome.retry_after,
                )
                return RunFailed, fields | {
                    "error": outcome.error,
                    "reason": str(outcome.reason),
                    "will_retry": delay is not None,
                    "next_attempt_at": None if delay is None else now + delay,
                    "result": outcome.result,
                    "artifacts": outcome.artifacts,
                }


def _identity(due: RunDue) -> dict[str, Any]:
    return {
        "job_id": due.job_id,
        "attempt": due.attempt,
        "schedule_id": due.schedule_id,
        "project_id": due.project_id,
        "task_type": due.task_type,
        "scheduled_for": due.scheduled_for,
    }


def _plain(value: object) -> object:
    """What JSON does not know: artifacts as objects, anything else of a handler's result as text."""
    return value.model_dump() if isinstance(value, BaseModel) else str(value)
