"""How bodies are read: strict JSON whatever the content type says, so that the reference's plain `curl -d` works.

A browser page elsewhere could send such a body too: services/api/envelope.py refuses foreign origins first.
"""

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

_NUL = b"\\u0000"


class StrictJsonRequest(Request):
    """Refuses what PostgreSQL cannot store: NaN, lone surrogates (orjson does) and NUL characters."""

    async def json(self) -> Any:
        """The body; an empty one is null."""
        body = await self.body()
        document = orjson.loads(body)
        if _NUL in body and (path := _find_nul(document, "body")):
            error = {"type": "string_nul", "loc": tuple(path.split(".")), "msg": "NUL characters cannot be stored"}
            raise RequestValidationError([error])
        return document


def _find_nul(value: object, path: str) -> str | None:
    """Where a NUL character is, if anywhere."""
    if isinstance(value, str):
        return path if "\x00" in value else None
    if isinstance(value, dict):
        for name, item in value.items():
            if "\x00" in name:
                return path
            if found := _find_nul(item, f"{path}.{name}"):
                return found
    elif isinstance(value, list):
        for number, item in enumerate(value):
            if found := _find_nul(item, f"{path}.{number}"):
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
