"""`/api/v1/schedules/…`: execute, enable, disable, statistics, due, preview, occurrences, conflicts."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Body, Query, Response

from services.api.actions import conflicts, editing, execution, parameters
from services.api.answers import reply
from services.api.caller import Operator, Viewer
from services.api.models.fields import Instant
from services.api.models.schedules import (
    ConflictList,
    Executed,
    Occurrences,
    Preview,
    ScheduleExecute,
    ScheduleShape,
    ScheduleWritten,
    StatisticsShape,
    shown_listed,
    shown_occurrences,
    success_rate,
)
from services.api.routes.documented import WRITES, errors
from services.api.routes.parameters import IdempotencyKey, IfMatch, ProjectFilter, ScheduleId
from services.api.routing import JsonRoute
from shared import clock
from shared.domain.recurrence import Recurrence, describe, explain_dropped, explain_occurrences
from shared.domain.schedule import recurrence_of
from shared.storage import schedule_queries
from shared.storage.database import Connection

_EARLIEST = datetime(1900, 1, 2, tzinfo=UTC)
"""The calendar of recurrences begins here."""

router = APIRouter(prefix="/api/v1/schedules", tags=["schedules"], route_class=JsonRoute)


@router.get(
    "/statistics/summary",
    response_model=StatisticsShape,
    responses=errors(),
    operation_id="getStatistics",
    summary="Count schedules and runs",
)
def get_statistics(caller: Viewer, project_id: ProjectFilter = None) -> Response:
    """Of one project, or of all in sight."""

    def work(connection: Connection) -> Response:
        found = schedule_queries.summarise(connection, caller.principal.narrowed(project_id))
        return reply(
            {
                "total_schedules": found.enabled + found.disabled,
                "enabled_schedules": found.enabled,
                "disabled_schedules": found.disabled,
                "total_runs": found.successes + found.failures,
                "successful_runs": found.successes,
                "failed_runs": found.failures,
                "success_rate": success_rate(found.successes, found.failures),
                "by_frequency": found.by_frequency,
            }
        )

    return caller.read(work)


@router.get(
    "/due/list",
    response_model=list[ScheduleShape],
    responses=errors(),
    operation_id="listDueSchedules",
    summary="List due schedules",
)
def list_due(
    caller: Viewer,
    limit: Annotated[int, Query(ge=1, le=500, description="Maximum schedules to return.")] = 100,
) -> Response:
    """Due and not yet dispatched, the longest waiting first. Usually empty: a dispatcher claims within milliseconds."""

    def work(connection: Connection) -> Response:
        found = schedule_queries.list_due(connection, caller.principal.project_ids, limit)
        return reply([shown_listed(row) for row in found])

    return caller.read(work)


@router.post(
    "/preview",
    response_model=Occurrences,
    responses=errors(413),
    operation_id="previewSchedule",
    summary="Try out a timing",
)
def preview(body: Preview, caller: Viewer) -> Response:
    """The coming occurrences by the dispatcher's own code; nothing is stored."""
    now = clock.now()
    values = body.model_dump(exclude={"count", "after"})
    recurrence = Recurrence.build(anchor=now, **values)
    return _occurrences(recurrence, body.after or now, body.count)


@router.get(
    "/{schedule_id:int}/occurrences",
    response_model=Occurrences,
    responses=errors(404),
    operation_id="listOccurrences",
    summary="When a schedule will run",
)
def list_occurrences(
    schedule_id: ScheduleId,
    caller: Viewer,
    count: Annotated[int, Query(ge=1, le=1000, description="How many.")] = 10,
    after: Annotated[Instant | None, Query(description="Occurrences after this instant; default now.")] = None,
) -> Response:
    """As its definition stands, enabled or not."""
    stored = caller.in_sight(schedule_id)
    return _occurrences(recurrence_of(stored.definition, stored.created_at), after or clock.now(), count)


def _occurrences(recurrence: Recurrence, after: datetime, count: int) -> Response:
    found = explain_occurrences(recurrence, max(after, _EARLIEST), count)
    body: dict[str, object] = {
        "description": describe(recurrence),
        "timezone": recurrence.timezone,
        "occurrences": shown_occurrences(found),
    }
    if found:
        dropped = explain_dropped(recurrence, max(after, _EARLIEST), found[-1].scheduled_for)
        if dropped:
            body["dropped"] = shown_occurrences(dropped)
    return reply(body)


@router.get(
    "/{schedule_id:int}/conflicts",
    response_model=ConflictList,
    responses=errors(404),
    operation_id="listConflicts",
    summary="Which schedules coincide",
)
def list_conflicts(schedule_id: ScheduleId, caller: Viewer) -> Response:
    """Enabled schedules of the project with the same task type and target, within a minute, in the next seven days."""
    stored = caller.in_sight(schedule_id)

    def work(connection: Connection) -> Response:
        recurrence = recurrence_of(stored.definition, stored.created_at)
        key = parameters.conflict_key(stored.definition.task_parameters)
        found = conflicts.of(connection, stored, recurrence, key, clock.now())
        return reply({"schedule_id": schedule_id, "conflicts": found})

    return caller.read(work)


@router.post(
    "/{schedule_id:int}/execute",
    status_code=202,
    response_model=Executed,
    responses=errors(404, *WRITES),
    operation_id="executeSchedule",
    summary="Execute a schedule by hand",
)
def execute_schedule(
    schedule_id: ScheduleId,
    caller: Operator,
    body: Annotated[ScheduleExecute | None, Body(examples=[{"force": True}])] = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """With force always, ignoring overlap, and next_run_at stays. Without: the due occurrence, or 409."""
    force = body is not None and body.force
    return caller.write(lambda connection: execution.execute(connection, schedule_id, force, caller))


@router.post(
    "/{schedule_id:int}/enable",
    response_model=ScheduleWritten,
    responses=errors(404, 412, *WRITES),
    operation_id="enableSchedule",
    summary="Enable a schedule",
)
def enable_schedule(
    schedule_id: ScheduleId, caller: Operator, if_match: IfMatch = None, idempotency_key: IdempotencyKey = None
) -> Response:
    """It runs from its next occurrence on; nothing is caught up."""
    return caller.write(lambda connection: editing.switch(connection, schedule_id, True, caller))


@router.post(
    "/{schedule_id:int}/disable",
    response_model=ScheduleWritten,
    responses=errors(404, 412, *WRITES),
    operation_id="disableSchedule",
    summary="Disable a schedule",
)
def disable_schedule(
    schedule_id: ScheduleId, caller: Operator, if_match: IfMatch = None, idempotency_key: IdempotencyKey = None
) -> Response:
    """It runs no more until it is enabled; what was due and unclaimed becomes a skip."""
    return caller.write(lambda connection: editing.switch(connection, schedule_id, False, caller))
