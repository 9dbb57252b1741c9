"""Records a batch of events: outcomes, statistics and audit entries, in one transaction.

intake.py calls `read` with what came from Kafka and `write` with that reading, again and again while it raises
DatabaseUnavailable. Everything here may run twice for the same events: what was recorded before is recognised and
changes nothing. One event that cannot be written is found by halving the batch and goes to the dead letters; the others
are recorded.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opentelemetry.trace import SpanKind

from services.health.batch import Batch
from shared import clock
from shared.events.envelope import Event, UnreadableEvent, decode
from shared.events.topics import OBJECTS, RUNS_REQUESTS, RUNS_RESULTS, SCHEDULES
from shared.events.types import EventData, ObjectChanged, RunEnded, RunEvent, RunRequested, RunStarted, ScheduleChange
from shared.kafka.consumer import Record
from shared.kafka.dead_letters import UnreadableLimit
from shared.storage import audit, outcomes, statistics
from shared.storage.database import Connection, Database
from shared.storage.outcomes import Unwritable
from shared.telemetry import metrics
from shared.telemetry.logging import get_logger
from shared.telemetry.tracing import is_sampled, span, trace_id_of

log = get_logger(__name__)

_BELONGS: dict[str, type[EventData] | tuple[type[EventData], ...]] = {
    SCHEDULES.name: ScheduleChange,
    RUNS_REQUESTS.name: RunRequested,
    OBJECTS.name: ObjectChanged,
    RUNS_RESULTS.name: (RunStarted, RunEnded),
}


class TooManyDead(Exception):
    """Nearly everything cannot be read, or not be written: the fault is here, not in the messages.

    Permanent until someone looks. Nothing of the batch at hand was put aside.
    """


@dataclass(frozen=True, slots=True)
class Reading:
    """A batch, decoded: its events in order, and what nobody can read, with the reason."""

    size: int
    readable: list[tuple[Record, Event]]
    dead: list[tuple[Record, str]]


PutAside = Callable[[Sequence[tuple[Record, str]]], None]
"""Sends (record, reason) pairs to the dead letters and returns when Kafka has them; raises when it cannot."""


class Recorder:
    """Turns records of `runs.results`, `runs.requests`, `objects` and `schedules` into rows."""

    def __init__(
        self,
        database: Database,
        put_aside: PutAside,
        *,
        on_failing: Callable[[dict[int, int]], None] = lambda _failing: None,
        traced: bool = False,
    ) -> None:
        """`on_failing` is told, after each batch, which schedules fail now (id → consecutive failures).

        `traced`: end each sampled trace with a span of its own; costs as much as the recording itself.
        """
        self._database = database
        self._put_aside = put_aside
        self._on_failing = on_failing
        self._traced = traced
        self._unreadable, self._unwritable = UnreadableLimit(), UnreadableLimit()
        self._lock = threading.Lock()  # lanes write at the same time

    def read(self, records: Sequence[Record]) -> Reading:
        """Decode a batch, once. Raises TooManyDead (stop)."""
        readable: list[tuple[Record, Event]] = []
        dead: list[tuple[Record, str]] = []
        for record in records:
            if record.value is None and record.topic == SCHEDULES.name:
                continue  # a tombstone: compaction's affair; the deletion itself was an event
            try:
                readable.append((record, _event(record)))
            except UnreadableEvent as error:
                dead.append((record, str(error)))
                if self._unreadable.note(False):
                    raise TooManyDead(f"nearly every message of {record.topic} is unreadable: {error}") from error
            else:
                self._unreadable.note(True)
        return Reading(len(records), readable, dead)

    def write(self, reading: Reading) -> None:
        """Record a batch, in order. Raises DatabaseUnavailable (try again with the same), TooManyDead (stop)."""
        started = clock.monotonic()
        dead = list(reading.dead)
        failing: dict[int, int] = {}
        if reading.readable:
            self._write(reading.readable, dead, failing)
        if dead:
            self._put_aside(dead)
        metrics.RECORD_BATCH.observe(reading.size)
        metrics.RECORD_DURATION.observe(clock.monotonic() - started)
        failing = {schedule_id: failures for schedule_id, failures in failing.items() if failures}
        if failing:
            self._on_failing(failing)

    def record(self, records: Sequence[Record]) -> None:
        """Both, for those who have one batch."""
        self.write(self.read(records))

    def _write(
        self, readable: Sequence[tuple[Record, Event]], dead: list[tuple[Record, str]], failing: dict[int, int]
    ) -> None:
        """One transaction; halved where the content is refused, until the one at fault is alone."""
        for chance in (1, 2):
            try:
                batch = Batch(readable, clock.now())
                with outcomes.recording(self._database) as connection:
                    failures = _store(connection, batch)
            except (Unwritable, ValueError, TypeError, OverflowError) as error:
                if len(readable) == 1:
                    # A refusal may be a race with another replica over the same event: once more, then it is its own.
                    if chance == 1:
                        continue
                    record, event = readable[0]
                    log.warning(
                        "An event cannot be written and is put aside: %s",
                        error,
                        schedule_id=event.schedule_id,
                        job_id=event.job_id,
                        event_id=event.id,
                        trace_id=trace_id_of(event.traceparent),
                    )
                    if self._too_many_unwritable(1, written=False):
                        raise TooManyDead(f"nearly no event can be written: {error}") from error
                    dead.append((record, f"it cannot be written: {error}"))
                    return
                middle = len(readable) // 2
                self._write(readable[:middle], dead, failing)
                self._write(readable[middle:], dead, failing)
                return
            self._too_many_unwritable(len(readable), written=True)
            batch.count()
            failing.update(failures)
            if self._traced:
                _trace(readable)
            return

    def _too_many_unwritable(self, events: int, *, written: bool) -> bool:
        with self._lock:
            return any(self._unwritable.note(written) for _ in range(min(events, 200)))


def _store(connection: Connection, batch: Batch) -> dict[int, int]:
    """Everything a batch decides. Locks: chains, then jobs, then statistics, each in the order of its primary key."""
    heads = audit.lock_chains(connection, batch.chains())
    known = audit.known(connection, batch.audited())
    jobs = outcomes.lock_jobs(connection, batch.jobs(known))
    batch.judge(known, jobs)
    outcomes.apply(connection, batch.outcomes())
    failures = statistics.record(connection, batch.tallies())
    audit.append(connection, batch.entries(), heads)
    return failures


def _trace(recorded: Sequence[tuple[Record, Event]]) -> None:
    """The last span of each run's trace: its event is on record."""
    for _, event in recorded:
        if event.traceparent is not None and is_sampled(event.traceparent):
            name = event.data.TYPE.removeprefix("commandcenter.").removesuffix(".v1")
            attributes = {"schedule_id": event.schedule_id or 0, "job_id": event.job_id or 0}
            with span(f"record {name}", event.traceparent, SpanKind.CONSUMER, **attributes):
                pass


def _event(record: Record) -> Event:
    value = record.value
    if value is not None and b"\\u0000" in value:
        # PostgreSQL stores no NUL: the sign for "unreadable character" takes its place.
        value = value.replace(b"\\u0000", b"\\ufffd")
    event = decode(record.headers, value)
    if not isinstance(event.data, _BELONGS[record.topic]):
        raise UnreadableEvent(f"{event.data.TYPE} does not belong on {record.topic}")
    if isinstance(event.data, RunEvent) and event.data.attempt > 32_767:  # smallint
        raise UnreadableEvent(f"attempt {event.data.attempt} is out of range")
    return event
