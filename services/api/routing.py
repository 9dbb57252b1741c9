"""How bodies are read: strict JSON whatever the content type says, so that the reference's plain `curl -d` works.

A browser page elsewhere could send such a body too: services/api/envelope.py refuses foreign origins first.
"""

import re
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from services.api.actions.beside import wrong_beside
from services.api.problems import field_error, invalid, of_validation
from services.api.routes.parameters import tag_filters

_SUSPECT = re.compile(rb"\\u0000|[0-9][eE]|[0-9]{19}")
_MOST = 1 << 63
_DEEPEST = 100
"""Levels of a body. What is stored goes into events, whose writers give up at 255 levels."""


class StrictJsonRequest(Request):
    """Refuses what PostgreSQL, JSON or an event cannot hold: NaN and lone surrogates (orjson does), NUL characters,
    huge numbers, bottomless nesting.
    """

    async def json(self) -> Any:
        """The body. Raises JSONDecodeError, or Problem 422 naming the field."""
        body = await self.body()
        document = orjson.loads(body)
        suspect = _SUSPECT.search(body) or body.count(b"{") + body.count(b"[") > _DEEPEST
        if suspect and (wrong := _unstorable(document, "", _DEEPEST)):
            raise invalid([field_error(*wrong)])
        return document


def _unstorable(value: object, path: str, levels: int) -> tuple[str, str] | None:
    """Where something is that cannot be stored and given back unchanged, and what it is; `levels` may follow."""
    if isinstance(value, str):
        return (path or "body", "NUL characters cannot be stored") if "\x00" in value else None
    if isinstance(value, float):
        return (path or "body", "numbers beyond 64 bits are not kept exactly") if abs(value) >= _MOST else None
    items: Iterable[tuple[object, object]] = ()
    if isinstance(value, (dict, list)) and levels == 0:
        return path.partition(".")[0], f"more than {_DEEPEST} levels of nesting"
    if isinstance(value, dict):
        if any("\x00" in name for name in value):
            return path or "body", "NUL characters cannot be stored"
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for name, item in items:
        if found := _unstorable(item, f"{path}.{name}".lstrip("."), levels - 1):
            return found
    return None


def _unknown_parameters(request: Request, known: list[str], *, tagged: bool) -> list[dict[str, Any]]:
    """A misspelt filter would list everything. `tagged`: filters by tag (`tags.<name>`) are taken, under any name."""
    taken = ", ".join(known) or "none"
    return [
        field_error(name, f"there is no such query parameter; this path takes: {taken}")
        for name in dict.fromkeys(request.query_params)
        if name not in known and not (tagged and name.startswith("tags."))
    ]


class JsonRoute(APIRoute):
    """A route whose request is read strictly, and whose refusal names every wrong field."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own handler, given our request."""
        handler = super().get_route_handler()
        parameters = [str(one.alias) for one in self.dependant.query_params]
        tagged = any(one.call is tag_filters for one in self.dependant.dependencies)
        model = None if self.body_field is None else self.body_field.field_info.annotation

        async def read(request: Request) -> Response:
            if request.scope["query_string"] and (unknown := _unknown_parameters(request, parameters, tagged=tagged)):
                raise invalid(unknown)
            try:
                return await handler(request if model is None else StrictJsonRequest(request.scope, request.receive))
            except RequestValidationError as error:
                found = of_validation(error).errors
                refused = {str(one["field"]).partition(".")[0] for one in found}
                raise invalid([*found, *await wrong_beside(request, model, error.body, refused)]) from error

        return read
