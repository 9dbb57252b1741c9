"""What surrounds every request: its id, size limit, security headers, the access log and its metric.

Pure ASGI around the whole application, errors included. It also lets a body without a JSON content type through as
JSON, because the reference's examples send such; requests that a browser sends from another site are refused instead.
"""

import ipaddress
import re
import uuid
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api import spans
from services.api.pages import POLICY
from services.api.problems import Problem, respond, unavailable
from shared import clock
from shared.telemetry.logging import get_logger
from shared.telemetry.metrics import REQUEST_DURATION

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_QUIET = frozenset({"/livez", "/readyz", "/metrics"})
_SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_LONGEST_PATH = 1_000
_STORED = "/api/"
"""What is under it needs PostgreSQL."""
_OF_DOCS = (*_SECURITY[:-1], (b"content-security-policy", POLICY.encode()))
log = get_logger(__name__)


class Envelope:
    """The outermost application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body_bytes: int,
        origins: frozenset[str],
        local_only: bool,
        silence: Callable[[], str | None],
    ) -> None:
        """`local_only`: nobody is asked who they are, so only requests to a name of this machine itself count.

        `silence`: what is to be said of a PostgreSQL that is frozen, None while it is not.
        """
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._origins = origins
        self._local_only = local_only
        self._silence = silence

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = clock.monotonic()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = _request_id(headers.get(b"x-request-id", b""))
        scope.setdefault("state", {})["request_id"] = request_id
        status = 500
        security = _OF_DOCS if scope["path"] == "/docs" else _SECURITY

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode()), *security]
            await send(message)

        span = None if scope["path"] in _QUIET else spans.begin(scope, headers)
        try:
            problem = self._refusal(scope, headers)
            if problem is not None:
                await respond(problem, scope["path"])(scope, receive, answer)
            else:
                if scope["method"] not in _SAFE:
                    _read_as_json(scope, headers)
                await self._app(scope, self._bounded(receive), answer)
        finally:
            self._record(scope, status, clock.monotonic() - started, request_id)
            if span is not None:
                spans.end(span, scope, status)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> Problem | None:
        """What is wrong with a request before anything of it is read."""
        if len(scope["path"]) > _LONGEST_PATH:
            return Problem(404, "There is nothing at a path this long.")
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length[:19]) > self._max_body_bytes:
            return _too_large(self._max_body_bytes)
        if b"%00" in scope.get("query_string", b"") or "\x00" in scope["path"]:
            return Problem(422, "NUL characters cannot be stored.")
        if self._local_only and not _names_this_machine(headers.get(b"host", b"").decode("latin-1")):
            # A page elsewhere whose name is made to resolve to 127.0.0.1 (DNS rebinding) is its own origin here.
            return Problem(403, "Without access control (COMMANDCENTER_AUTH=none) only localhost is answered.")
        origin = headers.get(b"origin")
        if origin is not None and scope["method"] not in _SAFE:
            text = origin.decode("latin-1")
            if text.partition("://")[2] != headers.get(b"host", b"").decode("latin-1") and text not in self._origins:
                return Problem(403, f"Requests from pages of {text[:100]} are not allowed.")
        if scope["path"].startswith(_STORED) and self._silence():
            return unavailable()  # let in, it would wait without an end, in a thread that others need
        return None

    def _bounded(self, receive: Receive) -> Receive:
        """Counts a body that comes without its length."""
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self._max_body_bytes:
                    raise _too_large(self._max_body_bytes)
            return message

        return bounded

    def _record(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        route = spans.route_of(scope)
        path = scope["path"]
        REQUEST_DURATION.labels(scope["method"], route or "unknown", status).observe(seconds)
        if path in _QUIET and status < 500:
            return
        fields = dict(scope.get("path_params") or {})
        schedule_id = scope["state"].get("schedule_id") or fields.get("schedule_id")
        log.info(
            f"{scope['method']} {path} {status}",
            action="http.request",
            schedule_id=schedule_id,
            job_id=fields.get("job_id"),
            status=status,
            duration_ms=round(seconds * 1000, 1),
            request_id=request_id,
            actor=scope["state"].get("actor"),
        )


def _request_id(given: bytes) -> str:
    """The caller's id where it is a plain one, else a new one."""
    text = given.decode("latin-1")
    return text if _REQUEST_ID.fullmatch(text) else uuid.uuid4().hex


def _names_this_machine(host: str) -> bool:
    """Whether a Host header is loopback by its text, or missing, which no browser leaves out."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return not host or name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _too_large(limit: int) -> Problem:
    return Problem(413, f"A body may have {limit:,} bytes at most.")


def _read_as_json(scope: Scope, headers: dict[bytes, bytes]) -> None:
    """Name a form's or a nameless body JSON: `curl -d` sends JSON under the form's type."""
    kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
    if kind in (b"", b"application/x-www-form-urlencoded", b"text/plain"):
        kept = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
        scope["headers"] = [*kept, (b"content-type", b"application/json")]
