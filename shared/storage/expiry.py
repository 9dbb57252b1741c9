"""Which schedules are to be disabled by their own policy, and the definition's part of doing so (services/health)."""

from collections.abc import Mapping
from datetime import datetime

import orjson
from sqlalchemy import Connection, text

from shared.storage.versions import KEPT

# With an occurrence still to be claimed the window's last run would be lost.
_EXPIRED = text(
    "SELECT s.id FROM schedules s JOIN schedule_timers t ON t.schedule_id = s.id"
    " WHERE s.enabled AND s.deleted_at IS NULL AND s.end_time < clock_timestamp() AND t.next_run_at IS NULL"
    " ORDER BY s.id"
)
_TO_PAUSE = text(
    "SELECT s.id FROM jsonb_each_text(CAST(:failing AS jsonb)) AS f (id, failures)"
    " JOIN schedules s ON s.id = CAST(f.id AS bigint)"
    " WHERE s.enabled AND s.deleted_at IS NULL AND s.pause_after_failures > 0"
    " AND CAST(f.failures AS integer) >= s.pause_after_failures ORDER BY s.id"
)
_FAILING = text(
    "SELECT t.schedule_id, t.consecutive_failures FROM schedule_statistics t JOIN schedules s ON s.id = t.schedule_id"
    " WHERE t.consecutive_failures > 0 AND s.pause_after_failures > 0 AND s.enabled AND s.deleted_at IS NULL"
    # Enabled again after it was paused: it gets its number of tries anew.
    " AND t.updated_at > s.updated_at"
)
_DISABLE = text(f"""
WITH changed AS (
    UPDATE schedules SET enabled = false, version = version + 1, updated_at = :now WHERE id = :id
    RETURNING id, version, {KEPT}
)
INSERT INTO schedule_versions (schedule_id, version, {KEPT}, created_at)
SELECT id, version, {KEPT}, :now FROM changed RETURNING version
""")  # noqa: S608 (names of ours)


def expired(connection: Connection) -> list[int]:
    """Enabled schedules past their end_time, with nothing left to dispatch."""
    return list(connection.scalars(_EXPIRED))


def to_pause(connection: Connection, failing: Mapping[int, int]) -> list[int]:
    """Those of these schedules (id → consecutive failures) that reached their pause_after_failures."""
    if not failing:
        return []
    document = orjson.dumps({str(schedule_id): failures for schedule_id, failures in failing.items()}).decode()
    return list(connection.scalars(_TO_PAUSE, {"failing": document}))


def failing(connection: Connection) -> dict[int, int]:
    """Enabled schedules with such a policy that fail now: id → consecutive failures."""
    return {row.schedule_id: row.consecutive_failures for row in connection.execute(_FAILING)}


def disable(connection: Connection, schedule_id: int, now: datetime) -> int:
    """Store the disabled definition (timer and row locked by the caller); returns its new version."""
    version: int = connection.execute(_DISABLE, {"id": schedule_id, "now": now}).scalar_one()
    return version
