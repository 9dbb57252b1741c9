"""Disabling a schedule on the service's own account: its window is over, or it has failed too often in a row.

The same transaction as the api's `disable`: timer lock, then the definition, skips of what fell due unclaimed, an
empty timer, a new version, and the change event with the actor `health`. The api stays the writer of everything a
user asks for; what a user's own policy (`end_time`, `pause_after_failures`) decides is carried out here.
"""

from dataclasses import dataclass
from datetime import datetime

from shared.domain.catchup import SkipRange
from shared.domain.job import SkipReason
from shared.domain.recurrence import RecurrenceError
from shared.domain.schedule import DEFINITION_FIELDS, Definition, Timer, recurrence_of, unclaimed
from shared.events.envelope import Event, encode
from shared.events.topics import SCHEDULES
from shared.events.types import Actor, ScheduleDisabled
from shared.storage import expiry, jobs, outbox, schedules
from shared.storage.database import Connection, Database
from shared.storage.schedules import StoredSchedule
from shared.telemetry.logging import get_logger

log = get_logger(__name__)

SOURCE = "/commandcenter/health"


@dataclass(frozen=True, slots=True)
class Why:
    """The policy that asks for it: `actor` goes into the event, `sentence` into the log."""

    actor: str
    sentence: str


WINDOW_OVER = Why("health: window over", "its window is over")
FAILED_TOO_OFTEN = Why("health: pause_after_failures", "it failed too often in a row")


class Disabler:
    """Disables schedules whose own policy says so."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def cleanup_expired_schedules(self, _now: datetime) -> None:
        """Disable every schedule past its end_time, once its last occurrence has been claimed."""
        with self._database.transaction() as connection:
            ids = expiry.expired(connection)
        done = sum(self._disable(schedule_id, WINDOW_OVER) for schedule_id in ids)
        log.info("Schedule cleanup completed: %d schedules disabled", done, action="cleanup_expired_schedules")

    def pause(self, failing: dict[int, int]) -> None:
        """Disable those of these schedules (id → consecutive failures) whose `pause_after_failures` is reached."""
        with self._database.transaction() as connection:
            ids = expiry.to_pause(connection, failing)
        for schedule_id in ids:
            self._disable(schedule_id, FAILED_TOO_OFTEN)

    def pause_missed(self, _now: datetime) -> None:
        """The same for all schedules: a crash right after recording may have left one running."""
        with self._database.transaction() as connection:
            failing = expiry.failing(connection)
        self.pause(failing)

    def _disable(self, schedule_id: int, why: Why) -> bool:
        with self._database.transaction() as connection:
            now = schedules.lock_timer(connection, schedule_id)
            stored = schedules.get(connection, schedule_id, lock=True) if now is not None else None
            if now is None or stored is None or not stored.definition.enabled:
                return False  # somebody was faster
            if why is WINDOW_OVER and (stored.definition.end_time is None or stored.definition.end_time >= now):
                return False  # edited meanwhile
            _store(connection, stored, why, now)
        log.info(
            "Disabled schedule %d (%s): %s",
            schedule_id,
            stored.definition.name,
            why.sentence,
            schedule_id=schedule_id,
            action="schedule.disabled",
        )
        return True


def _store(connection: Connection, stored: StoredSchedule, why: Why, now: datetime) -> None:
    before = stored.definition
    after = before.changed({"enabled": False})
    missed = _missed(stored, now)
    if missed is not None:
        skip = jobs.Skip(
            stored.id,
            stored.version,
            before.project_id,
            before.task_type,
            SkipReason.DISABLED,
            missed.first,
            missed.last,
            missed.count,
        )
        jobs.insert_skips(connection, [skip], now)
    schedules.set_timer(connection, stored.id, Timer())
    version = expiry.disable(connection, stored.id, now)
    data = ScheduleDisabled(
        schedule_id=stored.id,
        project_id=before.project_id,
        version=version,
        actor=Actor(name=why.actor),
        before=_document(before, stored.created_at),
        after=_document(after, stored.created_at),
    )
    event = Event(f"schedule-{stored.id}-{version}", SOURCE, now, data, stored.id)
    outbox.add(connection, [encode(SCHEDULES.name, event)])
    outbox.notify(connection, outbox.OUTBOX_CHANNEL)


def _missed(stored: StoredSchedule, now: datetime) -> SkipRange | None:
    """What fell due and was not claimed, which goes on record before it is forgotten."""
    first = stored.timer.occurrence
    if first is None or first > now:
        return None
    try:
        recurrence = recurrence_of(stored.definition, stored.created_at)
        return unclaimed(recurrence, stored.timer, now, SkipReason.DISABLED.value)
    except (RecurrenceError, ValueError, KeyError, OverflowError):  # a zone that is gone: nobody can tell what else
        return SkipRange(first, first, 1, SkipReason.DISABLED.value)


def _document(definition: Definition, created_at: datetime) -> dict[str, object]:
    """A definition as change events carry it."""
    return {**{name: getattr(definition, name) for name in DEFINITION_FIELDS}, "created_at": created_at}
