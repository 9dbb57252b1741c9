"""The span of every request: named by its route, its attributes those of OpenTelemetry's conventions for HTTP servers
(https://opentelemetry.io/docs/specs/semconv/http/http-spans).

Opened by envelope.py around everything, so that the access log's line and refusals carry the trace's id. FastAPI's own
telemetry opens one further inside, where neither does, and at three times the cost: a tenth of a short request.
"""

import re
from contextvars import Token

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode
from starlette.types import Scope

from shared.telemetry import tracing

_METHODS = frozenset({"GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS", "CONNECT", "TRACE", "QUERY"})
_FAULT = 500
_PORT = re.compile(r":[0-9]+$")


Opened = tuple[Span, Token[Context]]


def begin(scope: Scope, headers: dict[bytes, bytes]) -> Opened:
    """Open the span of a request, part of its caller's trace where it names one (`traceparent`)."""
    method = _method(scope)
    attributes = {
        "http.request.method": method,
        "url.scheme": scope["scheme"],
        "url.path": scope["path"],
        "server.address": _PORT.sub("", headers.get(b"host", b"").decode("latin-1")),
        "network.protocol.version": scope["http_version"],
    }
    if scope["query_string"]:
        attributes["url.query"] = scope["query_string"].decode("latin-1")
    parent = headers.get(b"traceparent", b"").decode("latin-1")
    return tracing.begin_current(_name(method), parent or None, SpanKind.SERVER, attributes)


def end(opened: Opened, scope: Scope, status: int) -> None:
    """Say what became of the request, and end. A caller's mistake is no error of this span, by the conventions."""
    span, token = opened
    route = route_of(scope)
    if route is not None:
        span.update_name(f"{_name(_method(scope))} {route}")
        span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", status)
    if status >= _FAULT:
        span.set_attribute("error.type", str(status))
        span.set_status(StatusCode.ERROR)
    tracing.end_current(span, token)


def route_of(scope: Scope) -> str | None:
    """The path as documented, such as /api/v1/schedules/{schedule_id}; None where there is none."""
    return getattr(scope.get("route"), "path_format", None)


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in _METHODS else "_OTHER"


def _name(method: str) -> str:
    return "HTTP" if method == "_OTHER" else method
