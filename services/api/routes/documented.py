"""How routes are documented: their errors, all as problem details."""

from typing import Any

from services.api.models.fields import ProblemBody
from services.api.problems import MEDIA_TYPE, Problem

_MEANINGS = {
    401: "No credentials, or ones that do not count.",
    403: "The caller's role does not allow it, or a browser page elsewhere asks.",
    404: "There is no such thing, or it belongs to a project out of sight.",
    409: "The present state forbids it.",
    412: "It has changed since the version named by If-Match.",
    413: "The body is too large.",
    422: "Fields cannot be accepted; `errors` names every one.",
    429: "Too many requests.",
    503: "The database or the issuer of tokens is unavailable; nothing was changed.",
}
_EXAMPLES = {
    401: "This API key is unknown, revoked or expired.",
    403: "This needs the role operator; yours is viewer.",
    404: "There is no schedule 123.",
    409: "Job 456 has ended: it is succeeded.",
    412: "It has changed meanwhile: its version is 4.",
    413: "A body may have 1,048,576 bytes at most.",
    422: "1 field cannot be accepted.",
    429: "Too many requests.",
    503: "The database is unavailable; try again in a moment.",
}
_FIELDS = (
    {
        "field": "cron_expression",
        "message": "0 2 * * has 4 fields, 5 are needed",
        "value": "0 2 * *",
        "suggestion": "0 2 * * *",
    },
)
_RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The responses of a route that can fail in these ways, and in those every route can."""
    documented: dict[int | str, dict[str, Any]] = {}
    for status in sorted({*statuses, 401, 403, 422, 429, 503}):
        documented[status] = {
            "description": _MEANINGS[status],
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/ProblemBody"},
                    "example": Problem(status, _EXAMPLES[status], errors=_FIELDS if status == 422 else ()).body(),
                }
            },
        }
        if status in (429, 503):
            documented[status]["headers"] = _RETRY_AFTER
    return documented


WRITES = (409, 413)
__all__ = ["WRITES", "ProblemBody", "errors"]
