"""The OpenAPI document: what FastAPI derives, and what it cannot know. `python -m services.api.openapi [--check]`.

Without arguments it writes docs/openapi.json; with --check it says what has drifted (`make check` calls `drift`).
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from fastapi import FastAPI

from services.api.examples import EXAMPLES
from services.api.models.fields import FieldError, ProblemBody

COMMITTED = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"
_METHODS = ("get", "post", "patch", "delete")
_SECURITY = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, or an OIDC token. Not needed while COMMANDCENTER_AUTH=none.",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key."},
}
_ETAG = {"description": "The version, for If-Match.", "schema": {"type": "string"}}
_LEADS = (
    ("/api/v1/projects", "project_id", "/id", ("getProject", "updateProject")),
    ("/api/v1/repositories", "repository_id", "/id", ("getRepository", "updateRepository", "deleteRepository")),
    (
        "/api/v1/webhooks",
        "webhook_id",
        "/id",
        ("getWebhook", "updateWebhook", "listWebhookDeliveries", "deleteWebhook"),
    ),
    ("/api/v1/keys", "key_id", "/id", ("getKey", "rotateKey", "revokeKey")),
    ("/api/v1/task-types", "name", "/name", ("getTaskType",)),
    ("/api/v1/dead-letters", "dead_letter_id", "/dead_letters/0/id", ("getDeadLetter", "resendDeadLetter")),
)
"""What a creation's answer, or a list's first item, leads to."""
_LOCATION = {"description": "Where the new thing is.", "schema": {"type": "string"}}


def complete(app: FastAPI) -> dict[str, Any]:
    """The application's document, completed. Made once and kept by the application."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    document = FastAPI.openapi(app)
    schemas = document["components"]["schemas"]
    for model in (ProblemBody, FieldError):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schema.pop("$defs", None)
        schemas[model.__name__] = schema
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    document = _named_for_strangers(document)
    _give_examples(document["components"]["schemas"])
    document["components"]["securitySchemes"] = _SECURITY
    document["security"] = [{}, {"bearer": []}, {"apiKey": []}]
    document["servers"] = [{"url": "http://localhost:8000", "description": "The local stack."}]
    for method, operation in operations(document):
        _add_headers(method, operation)
    _link(document)
    app.openapi_schema = document
    return document


def _named_for_strangers(document: dict[str, Any]) -> dict[str, Any]:
    """What is ScheduleShape here, beside the domain's schedules, is a Schedule to who generates a client."""
    text = re.sub(rb'"(#/components/schemas/)?([A-Z][A-Za-z]+)Shape"', rb'"\1\2"', orjson.dumps(document))
    named: dict[str, Any] = orjson.loads(text.replace(b"ProblemBody", b"Problem"))
    return named


def _give_examples(schemas: dict[str, Any]) -> None:
    """To every schema that has one; a page shows one item."""
    for name, schema in schemas.items():
        example = EXAMPLES.get(name)
        if example is None and "pages" in schema.get("properties", ()):
            ((things, item),) = (
                (field, of["items"]["$ref"].rpartition("/")[2])
                for field, of in schema["properties"].items()
                if of.get("type") == "array"
            )
            example = {"total": 1, "page": 1, "page_size": 50, "pages": 1, things: [EXAMPLES[item]]}
        if example is not None:
            schema["examples"] = [example]


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every operation with its method."""
    for path in document["paths"].values():
        for method in _METHODS:
            if method in path:
                yield method, path[method]


def _add_headers(method: str, operation: dict[str, Any]) -> None:
    """ETag and Location where they are sent."""
    takes_if_match = any(parameter.get("name") == "If-Match" for parameter in operation.get("parameters", ()))
    responses = operation["responses"]
    single = operation["operationId"] in ("getSchedule", "getProject", "getRepository", "getWebhook")
    if "200" in responses and (takes_if_match or single):
        responses["200"].setdefault("headers", {})["ETag"] = _ETAG
    if "201" in responses:
        responses["201"].setdefault("headers", {})["Location"] = _LOCATION
    if method == "delete" and "204" in responses:
        responses["204"]["description"] = "It is gone."


def _link(document: dict[str, Any]) -> None:
    """What a creation's answer leads to, for clients and for tests that follow links."""
    created = document["paths"]["/api/v1/schedules"]["post"]["responses"]["201"]
    parameters = {"schedule_id": "$response.body#/id"}
    created["links"] = {
        operation: {"operationId": operation, "parameters": parameters}
        for operation in ("getSchedule", "updateSchedule", "listOccurrences", "listConflicts", "deleteSchedule")
    }
    created["links"]["executeSchedule"] = {
        "operationId": "executeSchedule",
        "parameters": parameters,
        "requestBody": {"force": True},
    }
    executed = document["paths"]["/api/v1/schedules/{schedule_id}/execute"]["post"]["responses"]["202"]
    job = {"job_id": "$response.body#/job_id"}
    executed["links"] = {
        operation: {"operationId": operation, "parameters": job} for operation in ("getJob", "cancelJob", "retryJob")
    }
    executed["links"]["claimAttempt"] = {
        "operationId": "claimAttempt",
        "parameters": job | {"attempt": "1"},
        "requestBody": {"worker": "render-7"},
    }
    for path, parameter, found, leads_to in _LEADS:
        method, status = ("get", "200") if found.count("/") > 1 else ("post", "201")
        document["paths"][path][method]["responses"][status]["links"] = {
            operation: {"operationId": operation, "parameters": {parameter: f"$response.body#{found}"}}
            for operation in leads_to
        }


def text(app: FastAPI) -> bytes:
    """The document as it is committed."""
    return orjson.dumps(complete(app), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def drift() -> list[str]:
    """One sentence when the committed document is not what the code serves."""
    from services.api.app import create_app  # the application imports this module

    if COMMITTED.exists() and COMMITTED.read_bytes() == text(create_app(None)):
        return []
    return ["docs/openapi.json is not what the code serves: run python -m services.api.openapi and commit it"]


def main(arguments: list[str]) -> int:
    """Write the document, or check it."""
    from services.api.app import create_app

    if arguments == ["--check"]:
        found = drift()
        print("\n".join(found) or "docs/openapi.json is what the code serves")  # noqa: T201
        return 1 if found else 0
    COMMITTED.write_bytes(text(create_app(None)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
