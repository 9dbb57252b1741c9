"""`/api/v1/projects`: what everything belongs to."""

from fastapi import APIRouter, Response

from services.api.actions import objects
from services.api.answers import Answer, etag, page_of, reply
from services.api.caller import Admin, Caller, Viewer
from services.api.models.objects import ProjectCreate, ProjectList, ProjectShape, ProjectUpdate, shown_row
from services.api.preconditions import check_version
from services.api.problems import Problem, not_found
from services.api.routes.documented import WRITES, errors
from services.api.routes.parameters import IdempotencyKey, IfMatch, ObjectId, PageNumber, PageSize
from services.api.routing import JsonRoute
from shared.storage import projects
from shared.storage.database import Connection

router = APIRouter(prefix="/api/v1/projects", tags=["projects"], route_class=JsonRoute)


@router.post(
    "",
    status_code=201,
    response_model=ProjectShape,
    responses=errors(*WRITES),
    operation_id="createProject",
    summary="Create a project",
)
def create_project(body: ProjectCreate, caller: Admin, idempotency_key: IdempotencyKey = None) -> Response:
    """Its name is unique. A caller whose sight is bounded to some projects cannot make others."""

    def work(connection: Connection) -> Answer:
        if caller.principal.project_ids is not None:
            raise Problem(403, "Only a caller who sees every project can make another.")
        row = projects.insert(connection, body.model_dump())
        log = (f"Created project {row.id} ({row.name})", {"action": "project.created", "project_id": row.id})
        headers = {"Location": f"/api/v1/projects/{row.id}", **etag(row.version)}
        objects.note(connection, caller, "project", "created", after=shown_row(row._mapping))
        return Answer(201, shown_row(row._mapping), headers, log)

    return caller.write(work)


@router.get("", response_model=ProjectList, responses=errors(), operation_id="listProjects", summary="List projects")
def list_projects(caller: Viewer, page: PageNumber = 1, page_size: PageSize = 50) -> Response:
    """The projects in sight, oldest first."""

    def work(connection: Connection) -> Response:
        rows, total = projects.list_page(connection, caller.principal.project_ids, page, page_size)
        return reply(page_of("projects", [shown_row(row._mapping) for row in rows], total, page, page_size))

    return caller.read(work)


@router.get(
    "/{project_id:int}",
    response_model=ProjectShape,
    responses=errors(404),
    operation_id="getProject",
    summary="Get a project",
)
def get_project(project_id: ObjectId, caller: Viewer) -> Response:
    """By its id."""

    def work(connection: Connection) -> Response:
        row = projects.get(connection, _visible(project_id, caller))
        if row is None:
            raise not_found("project", project_id)
        return reply(shown_row(row._mapping), headers=etag(row.version))

    return caller.read(work)


@router.patch(
    "/{project_id:int}",
    response_model=ProjectShape,
    responses=errors(404, 412, *WRITES),
    operation_id="updateProject",
    summary="Update a project",
)
def update_project(project_id: ObjectId, body: ProjectUpdate, caller: Admin, if_match: IfMatch = None) -> Response:
    """Fields left out stay as they are."""

    def work(connection: Connection) -> Answer:
        row = projects.get(connection, _visible(project_id, caller), lock=True)
        if row is None:
            raise not_found("project", project_id)
        check_version(caller.request, row.version)
        sent = body.model_dump(exclude_unset=True)
        if sent.get("weight", 1) is None:
            sent["weight"] = 1
        values = dict(row._mapping) | sent
        if values != dict(row._mapping):
            before = shown_row(row._mapping)
            row = projects.update(connection, project_id, values)
            objects.note(connection, caller, "project", "updated", before=before, after=shown_row(row._mapping))
        return Answer(200, shown_row(row._mapping), etag(row.version))

    return caller.write(work)


def _visible(project_id: int, caller: Caller) -> int:
    if not caller.principal.sees(project_id):
        raise not_found("project", project_id)
    return project_id
