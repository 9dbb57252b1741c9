"""Creating a schedule: one statement, the last, writes definition, version, timer and change event."""

from typing import Any

from services.api.access.principal import Principal
from services.api.actions import conflicts, parameters
from services.api.actions.changes import change
from services.api.actions.judging import judge, surroundings_of, warnings_of
from services.api.answers import Answer, etag
from services.api.models.schedules import ScheduleCreate, shown
from services.api.problems import Problem
from services.api.settings import Settings
from shared.domain.recurrence import next_after
from shared.domain.schedule import Definition, Timer, timer_at
from shared.events.types import Actor, ScheduleCreated
from shared.storage import schedules
from shared.storage.database import Connection
from shared.storage.schedules import StoredSchedule


def create(
    connection: Connection, body: ScheduleCreate, principal: Principal, actor: Actor, settings: Settings
) -> Answer:
    """201 with the schedule, warnings and conflicts. Raises Problem 422 naming every wrong field."""
    definition = Definition(**_values(body))
    around = surroundings_of(connection, definition, reserve=True)
    now = around.now
    recurrence = judge(connection, definition, around, principal, settings, now)
    if around.schedules >= settings.max_schedules_per_project:
        limit = settings.max_schedules_per_project
        raise Problem(409, f"Project {definition.project_id} has {limit:,} schedules, the most allowed.")
    first = next_after(recurrence, now)
    timer = timer_at(recurrence, around.id, first) if definition.enabled else Timer()
    warnings = warnings_of(definition, around)
    if first is None:
        warnings.append("nothing falls due inside its window: this schedule will never run")
    key = parameters.conflict_key(definition.task_parameters)
    stored = StoredSchedule(around.id, definition, 1, now, now, timer, None)
    found = conflicts.of(connection, stored, recurrence, key, now) if around.target_shared else []
    messages = change(ScheduleCreated, around.id, 1, actor, before=None, after=definition, created_at=now, now=now)
    schedules.insert(connection, stored, key, messages)
    conflicts.warn(stored.id, found)
    body_out: dict[str, Any] = {**shown(stored, now), "warnings": warnings, "conflicts": found}
    return Answer(
        201,
        body_out,
        {"Location": f"/api/v1/schedules/{stored.id}", **etag(1)},
        log=created_line(stored.id, definition.name, timer),
    )


def _values(body: ScheduleCreate) -> dict[str, Any]:
    """The body's fields by the definition's names, without copying deeply."""
    return {name: getattr(body, name) for name in type(body).model_fields}


def created_line(schedule_id: int, name: str, timer: Timer) -> tuple[str, dict[str, Any]]:
    """The reference's log line."""
    return (
        f"Created schedule {schedule_id} ({name}) with next run at {instant(timer)}",
        {"schedule_id": schedule_id, "action": "schedule.created"},
    )


def instant(timer: Timer) -> str:
    """When it runs next, as the log says it."""
    return timer.next_run_at.isoformat().replace("+00:00", "Z") if timer.next_run_at else "never"
