"""`/api/v1/repositories`: what analysis and sync work on."""

from fastapi import APIRouter, Response

from services.api.actions import objects, targets
from services.api.answers import Answer, etag, page_of, reply
from services.api.caller import Operator, Viewer
from services.api.models.objects import (
    RepositoryCreate,
    RepositoryList,
    RepositoryShape,
    RepositoryUpdate,
    shown_row,
)
from services.api.preconditions import check_version
from services.api.problems import invalid, not_found
from services.api.routes.documented import WRITES, errors
from services.api.routes.parameters import IdempotencyKey, IfMatch, ObjectId, PageNumber, PageSize, ProjectFilter
from services.api.routing import JsonRoute
from shared.storage import repositories
from shared.storage.database import Connection

router = APIRouter(prefix="/api/v1/repositories", tags=["repositories"], route_class=JsonRoute)


@router.post(
    "",
    status_code=201,
    response_model=RepositoryShape,
    responses=errors(*WRITES),
    operation_id="createRepository",
    summary="Register a repository",
)
def create_repository(body: RepositoryCreate, caller: Operator, idempotency_key: IdempotencyKey = None) -> Response:
    """By https, ssh or git@host:path; by a local path where a setting allows it."""

    def work(connection: Connection) -> Answer:
        wrong = targets.wrong_repository(body.url, body.default_branch, caller)
        wrong += targets.unknown_project(connection, body.project_id, caller)
        if wrong:
            raise invalid(wrong)
        row = repositories.insert(connection, body.model_dump())
        log = (f"Registered repository {row.id} ({row.name})", {"action": "repository.created"})
        headers = {"Location": f"/api/v1/repositories/{row.id}", **etag(row.version)}
        objects.note(connection, caller, "repository", "created", after=shown_row(row._mapping))
        return Answer(201, shown_row(row._mapping), headers, log)

    return caller.write(work)


@router.get(
    "", response_model=RepositoryList, responses=errors(), operation_id="listRepositories", summary="List repositories"
)
def list_repositories(
    caller: Viewer, project_id: ProjectFilter = None, page: PageNumber = 1, page_size: PageSize = 50
) -> Response:
    """Of one project, or of all in sight, oldest first."""

    def work(connection: Connection) -> Response:
        visible = caller.principal.narrowed(project_id)
        rows, total = repositories.list_page(connection, visible, page, page_size)
        return reply(page_of("repositories", [shown_row(row._mapping) for row in rows], total, page, page_size))

    return caller.read(work)


@router.get(
    "/{repository_id:int}",
    response_model=RepositoryShape,
    responses=errors(404),
    operation_id="getRepository",
    summary="Get a repository",
)
def get_repository(repository_id: ObjectId, caller: Viewer) -> Response:
    """By its id."""

    def work(connection: Connection) -> Response:
        row = repositories.get(connection, repository_id)
        if row is None or not caller.principal.sees(row.project_id):
            raise not_found("repository", repository_id)
        return reply(shown_row(row._mapping), headers=etag(row.version))

    return caller.read(work)


@router.patch(
    "/{repository_id:int}",
    response_model=RepositoryShape,
    responses=errors(404, 412, *WRITES),
    operation_id="updateRepository",
    summary="Update a repository",
)
def update_repository(
    repository_id: ObjectId, body: RepositoryUpdate, caller: Operator, if_match: IfMatch = None
) -> Response:
    """Fields left out stay as they are."""

    def work(connection: Connection) -> Answer:
        row = repositories.get(connection, repository_id, lock=True)
        if row is None or not caller.principal.sees(row.project_id):
            raise not_found("repository", repository_id)
        check_version(caller.request, row.version)
        sent = body.model_dump(exclude_unset=True)
        values = {name: sent.get(name, row._mapping[name]) for name in ("name", "url", "default_branch")}
        # What is stored was judged when it came: a setting that changed since must not keep it from being renamed.
        new = {name: None if values[name] == row._mapping[name] else values[name] for name in ("url", "default_branch")}
        wrong = targets.wrong_repository(new["url"], new["default_branch"], caller)
        if wrong:
            raise invalid(wrong)
        if any(values[name] != row._mapping[name] for name in values):
            before = shown_row(row._mapping)
            row = repositories.update(connection, repository_id, values)
            objects.note(connection, caller, "repository", "updated", before=before, after=shown_row(row._mapping))
        return Answer(200, shown_row(row._mapping), etag(row.version))

    return caller.write(work)


@router.delete(
    "/{repository_id:int}",
    status_code=204,
    responses=errors(404, 412),
    operation_id="deleteRepository",
    summary="Forget a repository",
)
def delete_repository(repository_id: ObjectId, caller: Operator, if_match: IfMatch = None) -> Response:
    """Jobs that name it fail saying so."""

    def work(connection: Connection) -> Answer:
        row = repositories.get(connection, repository_id, lock=True)
        if row is None or not caller.principal.sees(row.project_id):
            raise not_found("repository", repository_id)
        check_version(caller.request, row.version)
        repositories.delete(connection, repository_id)
        objects.note(connection, caller, "repository", "deleted", before=shown_row(row._mapping))
        return Answer(204, log=(f"Deleted repository {repository_id}", {"action": "repository.deleted"}))

    return caller.write(work)
