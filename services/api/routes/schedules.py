"""`/api/v1/schedules`: create, list, get, change, delete."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from services.api.actions import creation, deletion, editing
from services.api.answers import etag, page_of, reply
from services.api.caller import Operator, Viewer
from services.api.models.schedules import (
    Frequency,
    ScheduleCreate,
    ScheduleList,
    ScheduleShape,
    ScheduleUpdate,
    ScheduleWritten,
    shown_listed,
)
from services.api.problems import not_found
from services.api.routes.documented import WRITES, errors
from services.api.routes.parameters import (
    IdempotencyKey,
    IfMatch,
    PageNumber,
    PageSize,
    ProjectFilter,
    ScheduleId,
    TagFilters,
)
from services.api.routing import JsonRoute
from shared.storage import schedule_queries
from shared.storage.database import Connection
from shared.storage.schedule_queries import ScheduleFilter

router = APIRouter(prefix="/api/v1/schedules", tags=["schedules"], route_class=JsonRoute)


@router.post(
    "",
    status_code=201,
    response_model=ScheduleWritten,
    responses=errors(*WRITES),
    operation_id="createSchedule",
    summary="Create a schedule",
)
def create_schedule(body: ScheduleCreate, caller: Operator, idempotency_key: IdempotencyKey = None) -> Response:
    """Accepted means stored: its change event will be published, and it runs from its next occurrence on.

    A repository or webhook that does not exist is a warning; its jobs fail until it does.
    """
    context = caller.context
    response = caller.write(
        lambda connection: creation.create(connection, body, caller.principal, caller.actor, context.settings),
        writes_once=True,
    )
    made = response.headers.get("location", "").rpartition("/")[2]
    caller.about(int(made) if made else None)
    return response


@router.get("", response_model=ScheduleList, responses=errors(), operation_id="listSchedules", summary="List schedules")
def list_schedules(
    caller: Viewer,
    tags: TagFilters,
    project_id: ProjectFilter = None,
    enabled: Annotated[bool | None, Query(description="Filter by enabled status.")] = None,
    task_type: Annotated[str | None, Query(max_length=48, description="Filter by task type.")] = None,
    frequency: Annotated[Frequency | None, Query(description="Filter by frequency.")] = None,
    page: PageNumber = 1,
    page_size: PageSize = 50,
) -> Response:
    """Newest first. `tags.<name>=<value>` filters by tags; several must all fit."""
    wanted = ScheduleFilter(caller.principal.narrowed(project_id), enabled, task_type, frequency, tags)

    def work(connection: Connection) -> Response:
        found, total = schedule_queries.list_page(connection, wanted, page, page_size)
        return reply(page_of("schedules", [shown_listed(row) for row in found], total, page, page_size))

    return caller.read(work)


@router.get(
    "/{schedule_id:int}",
    response_model=ScheduleShape,
    responses=errors(404),
    operation_id="getSchedule",
    summary="Get a schedule",
)
def get_schedule(schedule_id: ScheduleId, caller: Viewer) -> Response:
    """With its statistics; its version is the ETag."""

    def work(connection: Connection) -> Response:
        found = schedule_queries.one(connection, schedule_id)
        if found is None or not caller.principal.sees(found.project_id):
            raise not_found("schedule", schedule_id)
        return reply(shown_listed(found), headers=etag(found.version))

    return caller.read(work)


@router.patch(
    "/{schedule_id:int}",
    response_model=ScheduleWritten,
    responses=errors(404, 412, *WRITES),
    operation_id="updateSchedule",
    summary="Update a schedule",
)
def update_schedule(
    schedule_id: ScheduleId, body: ScheduleUpdate, caller: Operator, if_match: IfMatch = None
) -> Response:
    """Changing the timing recalculates next_run_at; what was due and unclaimed becomes a skip. No change, no event."""
    return caller.write(lambda connection: editing.edit(connection, schedule_id, body, caller))


@router.delete(
    "/{schedule_id:int}",
    status_code=204,
    responses=errors(404, 412),
    operation_id="deleteSchedule",
    summary="Delete a schedule",
)
def delete_schedule(schedule_id: ScheduleId, caller: Operator, if_match: IfMatch = None) -> Response:
    """Its queued jobs are cancelled, running ones finish; jobs and audit entries stay."""
    return caller.write(lambda connection: deletion.delete(connection, schedule_id, caller))
