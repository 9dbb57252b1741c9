"""The FastAPI application: routes, errors, and nothing else. `envelope.py` surrounds it."""

from functools import partial

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from services.api import openapi, pages, problems
from services.api.context import Context
from services.api.routes import (
    api_keys,
    attempts,
    audit,
    dead_letters,
    health,
    jobs,
    probes,
    projects,
    repositories,
    schedule_actions,
    schedules,
    task_types,
    webhooks,
)

DESCRIPTION = """Recurring work that runs exactly when it should, once, visibly.

Errors are problem details (RFC 9457) that name every wrong field. Query parameters that a path does not take are
refused. `Idempotency-Key` makes a POST safe to repeat; `If-Match` with an ETag makes a change safe against others'.
Instants are UTC."""

TAGS = [
    {"name": "schedules", "description": "What to run, when, and under which policies."},
    {"name": "jobs", "description": "What became of each occurrence and manual trigger."},
    {"name": "attempts", "description": "For workers elsewhere that want an attempt to start at most once."},
    {"name": "projects", "description": "What everything belongs to."},
    {"name": "repositories", "description": "What analysis and sync work on."},
    {"name": "webhooks", "description": "Where deliveries go."},
    {"name": "task-types", "description": "Kinds of work, and the parameters each takes."},
    {"name": "audit", "description": "Who did what, and what ran."},
    {"name": "dead-letters", "description": "What nobody could read or finish, and sending it again."},
    {"name": "health", "description": "What the monitor has found."},
    {"name": "keys", "description": "Access to this API."},
]


def create_app(context: Context | None) -> FastAPI:
    """The application. Without a context it can only describe itself (the OpenAPI document)."""
    app = FastAPI(
        title="CommandCenter",
        version="1.0.0",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        openapi_url="/openapi.json",
        docs_url=None,  # FastAPI's pages come from a CDN; pages.py has one of its own
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # spans.py and envelope.py are ours
    )
    app.state.context = context
    for module in (  # looked through in this order: what is asked for most comes first
        schedules,
        schedule_actions,
        jobs,
        attempts,
        projects,
        repositories,
        webhooks,
        task_types,
        audit,
        dead_letters,
        health,
        api_keys,
        probes,
        pages,
    ):
        # Not include_router, which looks through router after router, and through the right one twice, at each request.
        app.router.routes.extend(module.router.routes)
    problems.install(app)
    app.openapi = partial(openapi.complete, app)  # type: ignore[method-assign]
    if context is not None and context.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(context.settings.cors_origins),
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-Match", "X-API-Key", "X-Request-Id"],
            expose_headers=["ETag", "Idempotency-Replayed", "Location", "Retry-After", "X-Request-Id"],
        )
    return app
