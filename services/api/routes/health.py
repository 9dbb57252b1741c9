"""`/api/v1/health/…`: the monitor's last report and the leading dispatcher. Written elsewhere, here only read."""

from fastapi import APIRouter, Response

from services.api.answers import reply
from services.api.caller import Viewer
from services.api.models.objects import DispatcherReport, HealthReport
from services.api.routes.documented import errors
from services.api.routes.parameters import ProjectFilter
from services.api.routing import JsonRoute
from shared.domain.health import REMEDIES
from shared.storage import issue_queries, lease_queries, schedule_queries
from shared.storage.database import Connection

DISPATCHER_LEASE = "dispatcher"

router = APIRouter(prefix="/api/v1/health", tags=["health"], route_class=JsonRoute)


@router.get(
    "/schedules",
    response_model=HealthReport,
    responses=errors(),
    operation_id="getHealthReport",
    summary="What the monitor has found",
)
def get_health_report(caller: Viewer, project_id: ProjectFilter = None) -> Response:
    """Open issues, the most severe and longest lasting first; `total` says how many, a thousand are listed."""

    def work(connection: Connection) -> Response:
        report = issue_queries.last_report(connection)
        visible = caller.principal.narrowed(project_id)
        issues, total = issue_queries.open_issues(connection, visible)
        schedules = 0 if report is None else report.schedules
        if report is not None and visible is not None:  # the report counted everybody's
            schedules = schedule_queries.count(connection, visible)
        return reply(
            {
                "reported_at": None if report is None else report.reported_at,
                "schedules": schedules,
                "total": total,
                "issues": [{**issue._mapping, "remedy": REMEDIES.get(issue.kind)} for issue in issues],
            }
        )

    return caller.read(work)


@router.get(
    "/dispatcher",
    response_model=DispatcherReport,
    responses=errors(),
    operation_id="getDispatcher",
    summary="Which dispatcher leads",
)
def get_dispatcher(caller: Viewer) -> Response:
    """One dispatcher of several leads: it alone claims and publishes."""

    def work(connection: Connection) -> Response:
        lease = lease_queries.lease(connection, DISPATCHER_LEASE)
        if lease is None:
            return reply({"leader": None, "epoch": 0, "since": None})
        return reply({"leader": lease.leader, "epoch": lease.epoch, "since": lease.since})

    return caller.read(work)
