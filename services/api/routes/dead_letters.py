"""`/api/v1/dead-letters`: what nobody could read or finish. health keeps the letters; here they are sent again."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from services.api.actions import resending
from services.api.answers import page_of, reply
from services.api.caller import Operator, Viewer
from services.api.models.dead_letters import (
    DeadLetterList,
    DeadLetterResent,
    DeadLetterWhole,
    shown_letter,
    shown_whole,
)
from services.api.models.fields import INT8
from services.api.problems import not_found
from services.api.routes.documented import WRITES, errors
from services.api.routes.parameters import IdempotencyKey, ObjectId, PageNumber, PageSize, ProjectFilter
from services.api.routing import JsonRoute
from shared.storage import dead_letters
from shared.storage.database import Connection
from shared.storage.dead_letters import LetterFilter

router = APIRouter(prefix="/api/v1/dead-letters", tags=["dead-letters"], route_class=JsonRoute)


@router.get(
    "", response_model=DeadLetterList, responses=errors(), operation_id="listDeadLetters", summary="List dead letters"
)
def list_dead_letters(
    caller: Viewer,
    project_id: ProjectFilter = None,
    topic: Annotated[str | None, Query(max_length=100, description="Filter by where they came from.")] = None,
    schedule_id: Annotated[int | None, Query(ge=-INT8, le=INT8, description="Filter by schedule.")] = None,
    job_id: Annotated[int | None, Query(ge=-INT8, le=INT8, description="Filter by job.")] = None,
    page: PageNumber = 1,
    page_size: PageSize = 50,
) -> Response:
    """Newest first, kept for 30 days. A letter appears within a few seconds of being put aside."""
    wanted = LetterFilter(caller.principal.narrowed(project_id), topic, schedule_id, job_id)

    def work(connection: Connection) -> Response:
        rows, total = dead_letters.list_page(connection, wanted, page, page_size)
        return reply(page_of("dead_letters", [shown_letter(row) for row in rows], total, page, page_size))

    return caller.read(work)


@router.get(
    "/{dead_letter_id:int}",
    response_model=DeadLetterWhole,
    responses=errors(404),
    operation_id="getDeadLetter",
    summary="Inspect a dead letter",
)
def get_dead_letter(dead_letter_id: ObjectId, caller: Viewer) -> Response:
    """With its key, headers and value as they were."""

    def work(connection: Connection) -> Response:
        row = dead_letters.get(connection, dead_letter_id)
        if row is None or not resending.in_sight(caller, row.project_id):
            raise not_found("dead letter", dead_letter_id)
        return reply(shown_whole(row))

    return caller.read(work)


@router.post(
    "/{dead_letter_id:int}/resend",
    status_code=202,
    response_model=DeadLetterResent,
    responses=errors(404, *WRITES),
    operation_id="resendDeadLetter",
    summary="Send a dead letter again",
)
def resend_dead_letter(dead_letter_id: ObjectId, caller: Operator, idempotency_key: IdempotencyKey = None) -> Response:
    """A run becomes a new manual job of its schedule; any other message goes to its topic again, byte for byte.

    409 while the run's job has not ended, or where sending it again cannot help.
    """
    return caller.write(lambda connection: resending.resend(connection, dead_letter_id, caller))
