"""`/api/v1/jobs`: what became of occurrences and manual triggers."""

import re
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from services.api.actions import job_actions
from services.api.answers import page_of, reply
from services.api.caller import Operator, Viewer
from services.api.models.fields import INT8, Instant
from services.api.models.jobs import JobAccepted, JobList, JobShape, Status, TriggerName, shown_job
from services.api.problems import Problem, field_error, invalid, not_found
from services.api.routes.documented import WRITES, errors
from services.api.routes.parameters import (
    IdempotencyKey,
    ObjectId,
    PageNumber,
    PageSize,
    ProjectFilter,
    TagFilters,
)
from services.api.routing import JsonRoute
from shared import clock
from shared.artifacts import ArtifactMissing, ArtifactRefused
from shared.storage import job_queries
from shared.storage.database import Connection
from shared.storage.job_queries import JobFilter

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"], route_class=JsonRoute)
_DAYS = timedelta(days=7)
_DIGITS = len(str(INT8))
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}(; ?charset=[\w-]{1,40})?", re.ASCII)


@router.get("", response_model=JobList, responses=errors(), operation_id="listJobs", summary="List jobs")
def list_jobs(  # noqa: PLR0913, PLR0917 (one query parameter each)
    caller: Viewer,
    tag_filters: TagFilters,
    schedule_id: Annotated[int | None, Query(ge=-INT8, le=INT8, description="Filter by schedule.")] = None,
    project_id: ProjectFilter = None,
    status: Annotated[Status | None, Query(description="Filter by status.")] = None,
    task_type: Annotated[str | None, Query(max_length=48, description="Filter by task type.")] = None,
    trigger: Annotated[TriggerName | None, Query(description="Filter by trigger.")] = None,
    since: Annotated[Instant | None, Query(alias="from", description="Occurrences from this instant on.")] = None,
    until: Annotated[Instant | None, Query(alias="to", description="Occurrences up to this instant.")] = None,
    page: PageNumber = 1,
    page_size: PageSize = 50,
) -> Response:
    """Newest first. Without a schedule, and without from and to, the last seven days.

    `tags.schedule_id=123` names the schedule; other `tags.<name>=<value>` filter by its tags.
    """
    tags = dict(tag_filters)
    tagged = tags.pop("schedule_id", None)
    if tagged is not None:
        readable = tagged.isdecimal() and len(tagged) <= _DIGITS and int(tagged) <= INT8
        if not readable or schedule_id not in (None, int(tagged)):
            raise invalid([field_error("tags.schedule_id", "one schedule's id is needed", tagged)])
        schedule_id = int(tagged)
    caller.about(schedule_id)
    if schedule_id is None and since is None and until is None:
        since = clock.now() - _DAYS
    wanted = JobFilter(
        caller.principal.narrowed(project_id), schedule_id, status, task_type, trigger, since, until, tags
    )

    def work(connection: Connection) -> Response:
        found, total = job_queries.list_page(connection, wanted, page, page_size)
        return reply(page_of("jobs", [shown_job(row) for row in found], total, page, page_size))

    return caller.read(work)


@router.get("/{job_id:int}", response_model=JobShape, responses=errors(404), operation_id="getJob", summary="Get a job")
def get_job(job_id: ObjectId, caller: Viewer) -> Response:
    """With its result and artifacts once it has ended."""

    def work(connection: Connection) -> Response:
        row = job_queries.get(connection, job_id)
        if row is None or not caller.principal.sees(row.project_id):
            raise not_found("job", job_id)
        caller.about(row.schedule_id)
        return reply(shown_job(row))

    return caller.read(work)


@router.get(
    "/{job_id:int}/artifacts/{name}",
    responses={
        200: {
            "description": "The file.",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
        **errors(404),
    },
    response_class=StreamingResponse,
    operation_id="getArtifact",
    summary="Fetch a job's file",
)
def get_artifact(job_id: ObjectId, name: str, caller: Viewer) -> Response:
    """As the run left it, for as long as artifacts are kept."""
    with caller.context.database.transaction() as connection:
        row = job_queries.get(connection, job_id)
    if row is None or not caller.principal.sees(row.project_id):
        raise not_found("job", job_id)
    caller.about(row.schedule_id)
    listed = next((one for one in row.artifacts or () if one["name"] == name), None)
    if listed is None:
        raise not_found("artifact", name[:100])
    try:
        chunks = caller.context.artifacts.open(row.scheduled_for, job_id, row.attempt, name)
    except (ArtifactMissing, ArtifactRefused) as error:
        raise Problem(404, f"{error}.") from error
    headers = {"Content-Length": str(listed["size"]), "Content-Disposition": f'attachment; filename="{name}"'}
    plain = _MEDIA_TYPE.fullmatch(listed["media_type"])  # a worker elsewhere may say anything
    return StreamingResponse(chunks, headers=headers, media_type=plain[0] if plain else "application/octet-stream")


@router.post(
    "/{job_id:int}/cancel",
    status_code=202,
    response_model=JobAccepted,
    responses=errors(404, *WRITES),
    operation_id="cancelJob",
    summary="Cancel a job",
)
def cancel_job(job_id: ObjectId, caller: Operator, idempotency_key: IdempotencyKey = None) -> Response:
    """A queued job never starts; a running one is stopped by its worker. 409 when it has ended."""
    return caller.write(lambda connection: job_actions.cancel(connection, job_id, caller))


@router.post(
    "/{job_id:int}/retry",
    status_code=202,
    response_model=JobAccepted,
    responses=errors(404, *WRITES),
    operation_id="retryJob",
    summary="Run a job's work again",
)
def retry_job(job_id: ObjectId, caller: Operator, idempotency_key: IdempotencyKey = None) -> Response:
    """A new manual job of the same schedule for a job that has ended, however it did; 409 for one that has not."""
    return caller.write(lambda connection: job_actions.retry(connection, job_id, caller))
