"""From Kafka to the executor: reads due runs, claims attempts in batches, starts them, commits what is finished.

One loop on the process's main thread. Records wait in a queue for each task type; a type whose queue is full is paused,
the others flow on: one slow type never delays another, and the poll never stops, so the group membership stays.
"""

from collections import deque
from collections.abc import Mapping
from itertools import islice

from services.worker.attempt import Attempt
from services.worker.executor import Executor
from services.worker.results import Results
from services.worker.settings import Settings
from services.worker.task import Handler
from services.worker.undertaker import Undertaker
from shared import clock
from shared.events.envelope import UnreadableEvent, decode
from shared.events.topics import runs_due
from shared.events.types import RunDue
from shared.kafka.consumer import GroupConsumer, Record
from shared.kafka.dead_letters import UnreadableLimit
from shared.process import Process
from shared.storage import claims
from shared.storage.database import Database, DatabaseUnavailable
from shared.telemetry.logging import get_logger
from shared.telemetry.metrics import CONSUMER_LAG, FAULTS

log = get_logger(__name__)

BATCH = 1_000
_COMMIT_SECONDS = 1.0
_LAG_SECONDS = 5.0
_HIGH, _LOW = 3_000, 1_000
"""A type's queue is paused above the one and resumed below the other."""


class Intake:
    """The worker's main loop."""

    def __init__(  # noqa: PLR0913, PLR0917 - the loop is where all parts meet
        self,
        settings: Settings,
        process: Process,
        consumer: GroupConsumer,
        database: Database,
        executor: Executor,
        results: Results,
        undertaker: Undertaker,
        handlers: Mapping[str, Handler],
        worker: str,
    ) -> None:
        self._settings = settings
        self._process = process
        self._consumer = consumer
        self._database = database
        self._executor = executor
        self._results = results
        self._undertaker = undertaker
        self._handlers = handlers
        self._worker = worker
        self._queues: dict[str, deque[Attempt]] = {}
        self._limits: dict[str, UnreadableLimit] = {}
        self._finished_at_once: deque[Record] = deque()  # filled by the undertaker's thread too
        self._next_commit = self._next_lag = 0.0
        self._told: dict[str, int] = {}
        """The lag last told, by topic."""
        self._database_down: str | None = None
        self.stopped_topics: dict[str, str] = {}
        """Topics given up because nearly nothing in them can be read, with the sentence for /readyz."""

    def run(self) -> None:
        """Until the process is asked to stop. Raises ConsumerStopped when Kafka's client cannot go on."""
        while not self._process.stopping.is_set():
            self.turn()

    def turn(self) -> None:
        """Read, claim, start, commit: once."""
        self._process.beat("intake", 30.0)
        waiting = any(self._queues.values())
        for record in self._consumer.poll(BATCH, 0.01 if waiting else 0.1):
            self._sort(record)
        self._start()
        self._settle()

    def forget(self, topic: str, partition: int) -> None:
        """The partition went to another worker: what has not been claimed here is its to claim."""
        for task_type, queue in self._queues.items():
            if runs_due(task_type).name == topic:
                kept = [one for one in queue if one.record.partition != partition]
                queue.clear()
                queue.extend(kept)

    def close(self) -> None:
        """Commit what is finished by now and leave. What was read and not claimed comes again."""
        for queue in self._queues.values():
            queue.clear()
        self._settle()
        self._consumer.close()
        self._process.quiet("intake")

    def ready(self) -> str | None:
        """None when runs are being taken, else what is in the way."""
        if self._database_down is not None:
            return f"PostgreSQL is not available: {self._database_down}"
        if not self._consumer.assigned_once:
            return "Kafka has not assigned any partition yet"
        return next(iter(self.stopped_topics.values()), None)

    def _sort(self, record: Record) -> None:
        limit = self._limits.setdefault(record.topic, UnreadableLimit())
        try:
            due, traceparent = _read(record)
        except UnreadableEvent as error:
            if record.topic not in self.stopped_topics:
                self._bury(record, str(error), stop=limit.note(readable=False))
            return
        limit.note(readable=True)
        attempt = Attempt(due, record, traceparent, self._handlers.get(due.task_type))
        self._queues.setdefault(due.task_type, deque()).append(attempt)

    def _bury(self, record: Record, reason: str, *, stop: bool) -> None:
        if stop:
            sentence = f"nearly nothing in {record.topic} can be read ({reason}): not reading it any further"
            self.stopped_topics[record.topic] = sentence
            self._consumer.pause(record.topic)
            FAULTS.labels("worker", "topic_unreadable").inc()
            log.error(f"Stopped: {sentence}", action="consumer.stopped", topic=record.topic)
            return
        self._undertaker.unreadable(record, reason, self._finished_at_once.append)

    def _start(self) -> None:
        """Claim as many of the waiting attempts as there are free slots, in one statement, and begin them."""
        room = self._settings.worker_unacknowledged_limit - self._results.unacknowledged
        chosen: list[Attempt] = []
        for task_type, queue in self._queues.items():
            count = min(len(queue), self._executor.free(task_type), room - len(chosen), BATCH - len(chosen))
            chosen.extend(islice(queue, max(0, count)))
            self._flow(task_type, len(queue) - max(0, count))
        if not chosen or self._process.stopping.is_set():
            return
        taken = self._claim(chosen)
        if taken is None:
            return  # they stay in their queues
        for attempt in chosen:
            self._queues[attempt.due.task_type].popleft()
        begun, now = [], clock.monotonic()
        for attempt in chosen:
            if attempt.key in taken:
                taken.discard(attempt.key)  # the same event twice in one batch starts once
                attempt.claimed_monotonic = now
                begun.append(attempt)
            else:
                self._finished_at_once.append(attempt.record)  # somebody has started it, or it was cancelled
        self._executor.begin(begun)

    def _claim(self, chosen: list[Attempt]) -> set[claims.Key] | None:
        wanted = {
            one.key: claims.Wanted(one.due.job_id, one.due.attempt, one.due.schedule_id, one.due.scheduled_for)
            for one in chosen
        }
        try:
            with self._database.transaction() as connection:
                taken = claims.claim(
                    connection, self._worker, self._settings.worker_lease_seconds, list(wanted.values())
                )
        except DatabaseUnavailable as error:
            if self._database_down is None:
                log.warning("Waiting for PostgreSQL", action="database.unavailable", error=str(error))
            self._database_down = str(error)
            self._process.stopping.wait(0.5)
            return None
        if self._database_down is not None:
            log.info("PostgreSQL is back", action="database.available")
            self._database_down = None
        return taken

    def _flow(self, task_type: str, waiting: int) -> None:
        topic = runs_due(task_type).name
        if waiting > _HIGH:
            self._consumer.pause(topic)
        elif waiting < _LOW and topic not in self.stopped_topics:
            self._consumer.resume(topic)

    def _settle(self) -> None:
        self._consumer.finished(self._results.finished())
        while self._finished_at_once:
            self._consumer.finished([self._finished_at_once.popleft()])
        now = clock.monotonic()
        if now >= self._next_commit:
            self._next_commit = now + _COMMIT_SECONDS
            self._consumer.commit()
        if now >= self._next_lag:
            self._next_lag = now + _LAG_SECONDS
            lags = self._consumer.lag()
            # What other workers read now is theirs to tell: the last figure from before would alarm for ever.
            for topic in self._told.keys() | lags.keys():
                CONSUMER_LAG.labels("worker", topic).set(
                    lags.get(topic, 0) + len(self._queues.get(topic.rpartition(".")[2], ()))
                )
            self._told = lags


def _read(record: Record) -> tuple[RunDue, str | None]:
    """The due run in a record, and its trace context. Raises UnreadableEvent."""
    event = decode(record.headers, record.value)
    if not isinstance(event.data, RunDue):
        raise UnreadableEvent(f"{event.data.TYPE} does not belong here")
    if record.topic != f"runs.due.{event.data.task_type}":
        raise UnreadableEvent(f"a run of {event.data.task_type} does not belong here")
    return event.data, event.traceparent
