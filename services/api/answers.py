"""Answers: JSON as the reference writes it, ETags, and pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from fastapi import Response

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """What an action answers: status, body (None: empty), headers, and the log line once it is committed."""

    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    log: tuple[str, dict[str, Any]] | None = None

    def content(self) -> bytes:
        """The body as sent."""
        return b"" if self.body is None else dump(self.body)

    def response(self) -> Response:
        """The HTTP answer."""
        return Response(self.content(), self.status, dict(self.headers), None if self.body is None else JSON)


def dump(body: object) -> bytes:
    """JSON bytes; instants in UTC with Z."""
    return orjson.dumps(body, option=orjson.OPT_UTC_Z)


def reply(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(dump(body), status, None if headers is None else dict(headers), JSON)


def second(value: datetime | None) -> datetime | None:
    """An instant without its fraction: definitions are shown to the second, as the reference does."""
    return None if value is None else value.astimezone(UTC).replace(microsecond=0)


def etag(version: int) -> dict[str, str]:
    """The header of a single object's version."""
    return {"ETag": f'"{version}"'}


def page_of(name: str, items: Sequence[object], total: int, page: int, page_size: int) -> dict[str, object]:
    """The shape of every list."""
    return {
        name: list(items),
        "total": total,
        "page": page,
        "page_size": page_size,
        "pages": -(-total // page_size),
    }
