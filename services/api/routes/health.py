"""`/api/v1/health/schedules`: the monitor's last report. health writes it; here it is only read."""

from fastapi import APIRouter, Response

from services.api.answers import reply
from services.api.caller import Viewer
from services.api.models.objects import HealthReport
from services.api.routes.documented import errors
from services.api.routes.parameters import ProjectFilter
from services.api.routing import JsonRoute
from shared.storage import issue_queries
from shared.storage.database import Connection

router = APIRouter(prefix="/api/v1/health", tags=["health"], route_class=JsonRoute)


@router.get(
    "/schedules",
    response_model=HealthReport,
    responses=errors(),
    operation_id="getHealthReport",
    summary="What the monitor has found",
)
def get_health_report(caller: Viewer, project_id: ProjectFilter = None) -> Response:
    """Open issues, the most severe and longest lasting first."""

    def work(connection: Connection) -> Response:
        report = issue_queries.last_report(connection)
        issues = issue_queries.open_issues(connection, caller.principal.narrowed(project_id))
        return reply(
            {
                "reported_at": None if report is None else report.reported_at,
                "schedules": 0 if report is None else report.schedules,
                "issues": [dict(issue._mapping) for issue in issues],
            }
        )

    return caller.read(work)
