"""How bodies are read: strict JSON whatever the content type says, so that the reference's plain `curl -d` works.

A browser page elsewhere could send such a body too: services/api/envelope.py refuses foreign origins first.
"""

import re
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute

from services.api.problems import field_error, invalid

_SUSPECT = re.compile(rb"\\u0000|[0-9][eE]|[0-9]{19}")
_MOST = 1 << 63


class StrictJsonRequest(Request):
    """Refuses what PostgreSQL or JSON cannot hold: NaN, lone surrogates (orjson does), NUL characters, huge numbers."""

    async def json(self) -> Any:
        """The body. Raises JSONDecodeError, or Problem 422 naming the field."""
        body = await self.body()
        document = orjson.loads(body)
        if _SUSPECT.search(body) and (wrong := _unstorable(document, "")):
            raise invalid([field_error(*wrong)])
        return document


def _unstorable(value: object, path: str) -> tuple[str, str] | None:
    """Where something is that cannot be stored and given back unchanged, and what it is."""
    if isinstance(value, str):
        return (path or "body", "NUL characters cannot be stored") if "\x00" in value else None
    if isinstance(value, float):
        return (path or "body", "numbers beyond 64 bits are not kept exactly") if abs(value) >= _MOST else None
    items: Iterable[tuple[object, object]] = ()
    if isinstance(value, dict):
        if any("\x00" in name for name in value):
            return path or "body", "NUL characters cannot be stored"
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for name, item in items:
        if found := _unstorable(item, f"{path}.{name}".lstrip(".")):
            return found
    return None


class JsonRoute(APIRoute):
    """A route whose request is read strictly."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own handler, given our request."""
        handler = super().get_route_handler()

        async def read(request: Request) -> Response:
            return await handler(StrictJsonRequest(request.scope, request.receive))

        return read
