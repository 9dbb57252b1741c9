"""Errors as RFC 9457 problem details: one exception, and the handlers that turn everything else into it.

Written here instead of taken from a library because our 422 names fields the way the rest of the product does
(`field`, `message`, `value`, `suggestion`), for recurrences as well as for bodies.
"""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from shared.domain.recurrence import Problem as RecurrenceProblem
from shared.domain.recurrence import RecurrenceError
from shared.storage.database import DatabaseUnavailable
from shared.storage.errors import NameTaken
from shared.telemetry.logging import get_logger
from shared.telemetry.metrics import FAULTS

MEDIA_TYPE = "application/problem+json"
_TYPES = {
    400: "bad-request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    409: "conflict",
    412: "precondition-failed",
    413: "too-large",
    422: "validation",
    429: "too-many-requests",
    500: "internal",
    503: "unavailable",
}
_LONGEST_VALUE = 200
log = get_logger(__name__)


class Problem(HTTPException):
    """An answer that is not a success. `errors` names wrong fields: {field, message, value?, suggestion?}."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        # Starlette's exception, because FastAPI turns every other one raised while a body is read into its own 400.
        super().__init__(status, detail, dict(headers or {}))
        self.status = status
        self.errors = [dict(error) for error in errors]

    def body(self, instance: str | None = None) -> dict[str, Any]:
        """The problem's members."""
        document: dict[str, Any] = {
            "type": f"urn:commandcenter:problem:{_TYPES.get(self.status, 'error')}",
            "title": "Unprocessable Content" if self.status == 422 else HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if instance is not None:
            document["instance"] = instance
        if self.errors:
            document["errors"] = self.errors
        return document


def not_found(kind: str, identity: object) -> Problem:
    """There is no such thing, or the caller may not know of it."""
    return Problem(404, f"There is no {kind} {identity}.")


def unavailable() -> Problem:
    """PostgreSQL does not answer; the caller may try again."""
    return Problem(503, "The database is unavailable; try again in a moment.", headers={"Retry-After": "2"})


def invalid(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """Wrong fields, all of them."""
    count = len(errors)
    return Problem(422, f"{count} field{'' if count == 1 else 's'} cannot be accepted.", errors=errors)


def field_error(field: str, message: str, value: object = None, suggestion: str | None = None) -> dict[str, Any]:
    """One wrong field. Values that are long or nested are left out."""
    error: dict[str, Any] = {"field": field, "message": message}
    if isinstance(value, (bool, float, str)) or (isinstance(value, int) and abs(value) < 1 << 63):
        error["value"] = value[:_LONGEST_VALUE] if isinstance(value, str) else value
    if suggestion is not None:
        error["suggestion"] = suggestion
    return error


def of_recurrence(problem: RecurrenceProblem) -> dict[str, Any]:
    """A recurrence's problem as a wrong field."""
    return field_error(problem.field, problem.message, problem.value, problem.suggestion)


def of_validation(error: RequestValidationError) -> Problem:
    """What FastAPI found wrong, field by field."""
    errors = []
    for found in error.errors():
        place = [str(part) for part in found["loc"]]
        if found["type"] == "json_invalid":
            reason = found.get("ctx", {}).get("error", "it cannot be read")
            errors.append(field_error("body", f"the body is not JSON: {reason}"))
            continue
        name = ".".join(place[1:]) or place[0]
        message = "there is no such field" if found["type"] == "extra_forbidden" else str(found["msg"])
        value = None if "secret" in name else found.get("input")  # secrets are never answered
        errors.append(field_error(name, message.removeprefix("Value error, "), value))
    return invalid(errors)


def respond(problem: Problem, instance: str | None = None) -> Response:
    """The problem as an HTTP answer."""
    # A value can hold what UTF-8 cannot (lone surrogates from a path): it is then left out.
    try:
        content = orjson.dumps(problem.body(instance))
    except orjson.JSONEncodeError:
        for error in problem.errors:
            error.pop("value", None)
        content = orjson.dumps(problem.body())
    return Response(content, problem.status, problem.headers, MEDIA_TYPE)


def allowed_methods(document: Mapping[str, Any], path: str) -> list[str]:
    """The methods documented for a path; a router names only those of the first route it finds."""
    found: set[str] = set()
    for template, operations in document["paths"].items():
        if re.fullmatch(re.sub(r"\{\w*(id|attempt)\}", "[0-9]+", template).replace("{name}", "[^/]+"), path):
            found |= {method.upper() for method in operations}
    return sorted(found) or ["GET"]


def install(app: FastAPI) -> None:
    """Answer every exception with a problem."""

    async def on_problem(request: Request, error: Problem) -> Response:
        return respond(error, request.url.path)

    async def on_validation(request: Request, error: RequestValidationError) -> Response:
        return respond(of_validation(error), request.url.path)

    async def on_recurrence(request: Request, error: RecurrenceError) -> Response:
        return respond(invalid([of_recurrence(problem) for problem in error.problems]), request.url.path)

    async def on_name_taken(request: Request, error: NameTaken) -> Response:
        return respond(Problem(409, f"{str(error)[:1].upper()}{str(error)[1:]}."), request.url.path)

    async def on_http(request: Request, error: HTTPException) -> Response:
        detail = str(error.detail)
        if error.status_code == 404:
            detail = f"There is nothing at {request.url.path}."
        headers = dict(error.headers or {})
        if error.status_code == 405:
            detail = f"{request.method} is not possible here."
            headers["Allow"] = ", ".join(allowed_methods(request.app.openapi(), request.url.path))
        return respond(Problem(error.status_code, detail, headers=headers), request.url.path)

    async def on_database(request: Request, error: DatabaseUnavailable) -> Response:
        FAULTS.labels("api", "database_unavailable").inc()
        given = request.state.request_id
        log.warning(f"The database is unavailable: {error}", action="database.unavailable", request_id=given)
        return respond(unavailable(), request.url.path)

    async def on_anything(request: Request, error: Exception) -> Response:
        # The boundary: what nobody expected is logged whole and answered without its inside.
        FAULTS.labels("api", "unexpected").inc()
        log.error(
            "A request failed unexpectedly",
            action="request.failed",
            path=request.url.path,
            request_id=request.state.request_id,
            exc_info=error,
        )
        return respond(Problem(500, "Something went wrong inside; the log has it under this request's id."))

    handlers: dict[type[Exception], Any] = {
        Problem: on_problem,
        RequestValidationError: on_validation,
        RecurrenceError: on_recurrence,
        NameTaken: on_name_taken,
        HTTPException: on_http,
        DatabaseUnavailable: on_database,
        Exception: on_anything,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
