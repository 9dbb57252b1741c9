"""/livez, /readyz and /metrics, on the api's own port. They need no credentials and show no project's data."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from services.api.answers import reply
from services.api.context import Context
from shared.storage.database import DatabaseUnavailable
from shared.telemetry.probes import liveness, readiness

router = APIRouter(tags=["probes"], include_in_schema=False)


def database_check(context: Context) -> str | None:
    """None when PostgreSQL answers."""
    try:
        context.database.ping()
    except DatabaseUnavailable as error:
        return f"PostgreSQL does not answer: {error}"
    return None


@router.get("/livez")
async def livez(request: Request) -> Response:
    """Whether the process itself is well."""
    context: Context = request.app.state.context
    status, body = liveness(context.process)
    return reply(body, status)


@router.get("/readyz")
def readyz(request: Request) -> Response:
    """Whether requests can be served."""
    context: Context = request.app.state.context
    status, body = readiness(context.process, {"postgres": lambda: database_check(context)})
    return reply(body, status)


@router.get("/metrics")
def metrics() -> Response:
    """Prometheus' text format."""
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)
