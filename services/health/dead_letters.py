"""Copies runs.dead into the table dead_letters, where the api lists the letters and sends them again.

A thread and a consumer group of its own, apart from Faust: letters are few, any bytes, and nothing waits for them.
Keeping a letter twice changes nothing, so its offset is committed after the transaction.
"""

import threading
from datetime import datetime

from shared import clock
from shared.events.envelope import UnreadableEvent, decode
from shared.events.topics import RUNS_DEAD
from shared.events.types import RunEvent, ScheduleChange
from shared.kafka.consumer import ConsumerStopped, GroupConsumer, Record
from shared.kafka.dead_letters import AT, CONSUMER, REASON, TOPIC, TRUNCATED, original_headers, reason_of
from shared.process import Process
from shared.storage import dead_letters
from shared.storage.database import Database, DatabaseUnavailable
from shared.storage.dead_letters import Letter
from shared.telemetry import metrics
from shared.telemetry.logging import get_logger

log = get_logger(__name__)

GROUP = "health-dead-letters"
MOST, WAIT, RETRY = 100, 1.0, 2.0
"""Letters a transaction; seconds to wait for one, and for a database that is away."""
_PART, _PROMISE = "dead letters", 60.0
_LARGEST_ID = 2**63 - 1


class DeadLetterKeeper:
    """One member of the group."""

    def __init__(self, database: Database, consumer: GroupConsumer, process: Process) -> None:
        self._database, self._consumer, self._process = database, consumer, process
        self._thread = threading.Thread(target=self._run, name="dead-letters", daemon=True)

    def start(self) -> None:
        """Keep letters until the process stops."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Wait for the thread's end; it ends by itself when the process stops."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        try:
            self._consumer.subscribe([RUNS_DEAD.name])
            while not self._process.stopping.is_set():
                self._process.beat(_PART, _PROMISE)
                records = self._consumer.poll(MOST, WAIT)
                if records and self._keep(records):
                    self._consumer.finished(records)
                    self._consumer.commit()
        except ConsumerStopped as error:
            log.critical("Dead letters cannot be read, the process ends and begins anew: %s", error)
            self._process.fail()
        except Exception:  # the thread's boundary: dying in silence would lose letters without a word
            log.exception("Keeping dead letters failed: the process ends and begins anew")
            metrics.FAULTS.labels("health", "dead_letters").inc()
            self._process.fail()
        finally:
            self._process.quiet(_PART)
            self._consumer.close()

    def _keep(self, records: list[Record]) -> bool:
        """Store them, however long the database is away; False when the process stops first."""
        letters = [letter_of(record, clock.now()) for record in records]
        waiting = False
        while not self._process.stopping.is_set():
            self._process.beat(_PART, _PROMISE)
            try:
                with self._database.transaction() as connection:
                    dead_letters.add(connection, letters)
            except DatabaseUnavailable as error:
                if not waiting:
                    log.warning("Dead letters wait for PostgreSQL: %s", error)
                waiting = True
                self._process.stopping.wait(RETRY)
            else:
                return True
        return False


def letter_of(record: Record, now: datetime) -> Letter:
    """A message of runs.dead as a letter; whatever can be known about it without trusting its bytes."""
    about, headers = reason_of(record.headers), original_headers(record.headers)
    event_type, schedule_id, job_id, project_id = _subject(record, headers)
    return Letter(
        record.partition,
        record.offset,
        _instant(about.get(AT)) or now,
        about.get(REASON, ""),
        about.get(CONSUMER, ""),
        about.get(TOPIC),
        TRUNCATED in about,
        record.key,
        headers,
        record.value,
        event_type,
        schedule_id,
        job_id,
        project_id,
    )


def _subject(
    record: Record, headers: list[tuple[str, bytes | None]]
) -> tuple[str | None, int | None, int | None, int | None]:
    """The event's type, schedule, job and project: from the event, or from the headers of one that cannot be read."""
    try:
        event = decode(headers, record.value)
    except UnreadableEvent:
        plain = dict(headers)
        event_type = (plain.get("ce_type") or b"").decode(errors="replace")[:200] or None
        schedule_id = _number(plain.get("ce_scheduleid")) or _number(record.key)
        return event_type, schedule_id, _number(plain.get("ce_jobid")), None
    data = event.data
    if isinstance(data, RunEvent):
        return data.TYPE, data.schedule_id, data.job_id, data.project_id
    if isinstance(data, ScheduleChange):
        return data.TYPE, data.schedule_id, None, data.project_id
    return data.TYPE, event.schedule_id, event.job_id, None


def _number(raw: bytes | None) -> int | None:
    if raw is None or not raw.isdigit() or len(raw) > 19 or int(raw) > _LARGEST_ID:
        return None
    return int(raw)


def _instant(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
