"""Finding which schedules coincide with one. Called after a creation or an edit, and by the conflicts endpoint."""

from datetime import datetime
from typing import Any

from shared.domain.conflicts import coincidences
from shared.domain.recurrence import Recurrence
from shared.storage import conflict_queries
from shared.storage.database import Connection
from shared.storage.schedules import StoredSchedule
from shared.telemetry.logging import get_logger
from shared.telemetry.metrics import CONFLICTS_FOUND

log = get_logger(__name__)


def of(
    connection: Connection, stored: StoredSchedule, recurrence: Recurrence | None, conflict_key: str, now: datetime
) -> list[dict[str, Any]]:
    """The conflicts of a schedule, the most frequent first; none while it is disabled."""
    definition = stored.definition
    if recurrence is None or not definition.enabled or stored.timer.next_run_at is None:
        return []
    others = conflict_queries.candidates(
        connection, stored.id, definition.project_id, definition.task_type, conflict_key
    )
    found = coincidences(recurrence, others, now) if others else []
    if not found:
        return []
    names = conflict_queries.names(connection, [one.schedule_id for one in found])
    return [
        {
            "schedule_id": one.schedule_id,
            "schedule_name": names.get(one.schedule_id, ""),
            "first_at": one.first_at,
            "count": one.count,
        }
        for one in found
    ]


def warn(schedule_id: int, found: list[dict[str, Any]]) -> None:
    """Say in the log that a creation or an edit left conflicts."""
    if not found:
        return
    CONFLICTS_FOUND.inc(len(found))
    others = ", ".join(str(one["schedule_id"]) for one in found[:10])
    log.warning(
        f"Schedule {schedule_id} coincides with {len(found)} other schedules on the same target: {others}",
        schedule_id=schedule_id,
        action="schedule.conflicts",
        conflicts=len(found),
    )
