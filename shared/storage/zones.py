"""What an update of the time zone database touches: timers whose next occurrence was computed under the old rules."""

from datetime import datetime
from typing import NamedTuple

from shared.storage.session import Session, array

FACT = "tzdb_version"

_SEEN = "SELECT value FROM facts WHERE name = %(name)s"
_NOTE = """
INSERT INTO facts (name, value) VALUES (%(name)s, %(value)s)
ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_at = now()
"""
_TIMERS = """
SELECT schedule_id, next_run_at, next_scheduled_for, last_claimed_for FROM schedule_timers
WHERE schedule_id > %(after)s AND next_run_at IS NOT NULL ORDER BY schedule_id LIMIT %(limit)s FOR UPDATE
"""
_EDITED = "SELECT id, updated_at FROM schedules WHERE id = ANY(%(ids)s::bigint[])"


class StoredTimer(NamedTuple):
    """A timer that is running, locked."""

    schedule_id: int
    next_run_at: datetime
    next_scheduled_for: datetime | None
    last_claimed_for: datetime | None


def version_seen(session: Session) -> str | None:
    """The release under which the stored timers were computed."""
    rows = session.execute(_SEEN, {"name": FACT})
    return rows[0][0] if rows else None


def note_version(session: Session, version: str) -> None:
    """All timers follow this release now."""
    session.execute(_NOTE, {"name": FACT, "value": version})


def lock_timers(session: Session, after: int, limit: int) -> list[StoredTimer]:
    """The next running timers by schedule id, locked."""
    return list(map(StoredTimer._make, session.execute(_TIMERS, {"after": after, "limit": limit})))


def edited_at(session: Session, schedule_ids: list[int]) -> dict[int, datetime]:
    """When each schedule was last created or changed."""
    return {row[0]: row[1] for row in session.execute(_EDITED, {"ids": array(schedule_ids)})}
