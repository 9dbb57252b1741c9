"""`/api/v1/task-types`: kinds of work. Anybody may see them; an admin registers external ones."""

from typing import Any

from fastapi import APIRouter, Response

from services.api.actions import objects
from services.api.actions.schema_rules import schema_problem
from services.api.answers import Answer, page_of, reply
from services.api.caller import Admin, Viewer
from services.api.models.objects import TaskTypeCreate, TaskTypeList, TaskTypeShape, shown_row
from services.api.problems import Problem, field_error, invalid, not_found
from services.api.routes.documented import WRITES, errors
from services.api.routes.parameters import IdempotencyKey
from services.api.routing import JsonRoute
from shared.events.topics import runs_due
from shared.storage import task_types
from shared.storage.database import Connection

router = APIRouter(prefix="/api/v1/task-types", tags=["task-types"], route_class=JsonRoute)


@router.get(
    "", response_model=TaskTypeList, responses=errors(), operation_id="listTaskTypes", summary="List task types"
)
def list_task_types(caller: Viewer) -> Response:
    """All on one page, the built-in ones first."""

    def work(connection: Connection) -> Response:
        rows = task_types.list_all(connection)
        shown = [_shown(row._mapping) for row in rows]
        return reply(page_of("task_types", shown, len(shown), 1, max(1, len(shown))))

    return caller.read(work)


@router.get(
    "/{name}",
    response_model=TaskTypeShape,
    responses=errors(404),
    operation_id="getTaskType",
    summary="Get a task type",
)
def get_task_type(name: str, caller: Viewer) -> Response:
    """With the JSON Schema of its parameters."""

    def work(connection: Connection) -> Response:
        row = task_types.get(connection, name)
        if row is None:
            raise not_found("task type", name[:100])
        return reply(_shown(row._mapping))

    return caller.read(work)


@router.post(
    "",
    status_code=201,
    response_model=TaskTypeShape,
    responses=errors(*WRITES),
    operation_id="registerTaskType",
    summary="Register an external task type",
)
def register_task_type(body: TaskTypeCreate, caller: Admin, idempotency_key: IdempotencyKey = None) -> Response:
    """Its due runs are published on runs.due.<name>; a consumer elsewhere answers on runs.results."""

    def work(connection: Connection) -> Answer:
        if caller.principal.project_ids is not None:
            raise Problem(403, "Task types are everybody's: only a caller who sees every project registers one.")
        problem = schema_problem(body.parameters_schema)
        if problem is not None:
            raise invalid([field_error("parameters_schema", problem)])
        row = task_types.register(connection, body.name, body.parameters_schema, body.description)
        if row is None:
            raise Problem(409, f"There is a task type {body.name} already.")
        log = (f"Registered task type {row.name}", {"action": "task_type.registered"})
        objects.note(connection, caller, "task_type", "created", after=_announced(row._mapping))
        return Answer(201, _shown(row._mapping), {"Location": f"/api/v1/task-types/{row.name}"}, log)

    return caller.write(work)


def _announced(row: Any) -> dict[str, Any]:
    """Without its schema: that never changes, and may be too large for an event."""
    return {name: value for name, value in _shown(row).items() if name != "parameters_schema"}


def _shown(row: Any) -> dict[str, Any]:
    shown = shown_row(row) | {"topic": runs_due(row["name"]).name}
    return {name: shown[name] for name in TaskTypeShape.model_fields}
