"""/livez, /readyz and /metrics, on the api's own port. They need no credentials and show no project's data."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from services.api.answers import reply
from services.api.context import Context
from shared.telemetry.probes import liveness, readiness

router = APIRouter(tags=["probes"], include_in_schema=False)


@router.get("/livez")
async def livez(request: Request) -> Response:
    """Whether the process itself is well."""
    context: Context = request.app.state.context
    status, body = liveness(context.process)
    return reply(body, status)


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """Whether requests can be served. Needs no thread: requests that a frozen PostgreSQL keeps may hold them all."""
    context: Context = request.app.state.context
    status, body = readiness(context.process, {"postgres": context.pulse.lacking})
    return reply(body, status)


@router.get("/metrics")
def metrics() -> Response:
    """Prometheus' text format."""
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)
