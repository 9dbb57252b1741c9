"""`/api/v1/audit`: who did what, and what ran. health writes it; here it is read, and proved."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from services.api.actions import verification
from services.api.answers import page_of, reply
from services.api.caller import Admin, Viewer
from services.api.models.fields import INT8, Instant
from services.api.models.objects import AuditList, AuditVerification
from services.api.problems import Problem
from services.api.routes.documented import errors
from services.api.routes.parameters import PageNumber, PageSize, ProjectFilter
from services.api.routing import JsonRoute
from shared.storage import audit_queries
from shared.storage.audit_queries import AuditFilter
from shared.storage.database import Connection

router = APIRouter(prefix="/api/v1/audit", tags=["audit"], route_class=JsonRoute)


@router.get("", response_model=AuditList, responses=errors(), operation_id="listAudit", summary="Read the audit log")
def list_audit(  # noqa: PLR0913, PLR0917 (one query parameter each)
    caller: Viewer,
    schedule_id: Annotated[int | None, Query(ge=-INT8, le=INT8, description="Filter by schedule.")] = None,
    project_id: ProjectFilter = None,
    actor: Annotated[str | None, Query(max_length=200, description="Filter by who did it.")] = None,
    action: Annotated[str | None, Query(max_length=100, description="Filter by what was done.")] = None,
    since: Annotated[Instant | None, Query(alias="from", description="Entries from this instant on.")] = None,
    until: Annotated[Instant | None, Query(alias="to", description="Entries up to this instant.")] = None,
    page: PageNumber = 1,
    page_size: PageSize = 50,
) -> Response:
    """Newest first. An entry appears when its event has come through Kafka, usually within a second."""
    wanted = AuditFilter(caller.principal.narrowed(project_id), schedule_id, actor, action, since, until)

    def work(connection: Connection) -> Response:
        rows, total = audit_queries.list_page(connection, wanted, page, page_size)
        return reply(page_of("entries", [dict(row._mapping) for row in rows], total, page, page_size))

    return caller.read(work)


@router.get(
    "/verification",
    response_model=AuditVerification,
    responses=errors(),
    operation_id="verifyAudit",
    summary="Prove that the audit log was not altered",
)
def verify_audit(
    caller: Admin,
    cursor: Annotated[
        str | None,
        Query(max_length=4_000, pattern="^[A-Za-z0-9_=-]+$", description="Go on where an answer stopped."),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100_000, description="Entries to look at.")] = 20_000,
) -> Response:
    """Recomputes the hashes of the stored entries and follows each chain, as `make audit-verify` does.

    One answer looks at `limit` entries; follow `cursor` until `complete`. Chains run through all projects, so this
    needs an admin who sees every project.
    """
    if caller.principal.project_ids is not None:
        raise Problem(403, "Only a caller who sees every project verifies the audit log.")
    return reply(verification.verify(caller.context.database, caller.context.secrets, cursor, limit))
