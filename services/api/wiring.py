"""Builds the api from its settings and serves it. The only builder of adapters."""

import asyncio
import gc
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from anyio import to_thread
from fastapi import FastAPI

from services.api.access.authenticator import Authenticator
from services.api.access.rate import RateLimiter
from services.api.app import create_app
from services.api.connection import Connection
from services.api.context import Context
from services.api.envelope import Envelope
from services.api.settings import Settings
from shared.artifacts import ArtifactStore
from shared.process import Process
from shared.secrets import SecretBox
from shared.storage import api_keys, idempotency
from shared.storage.database import Database, DatabaseUnavailable
from shared.storage.pulse import Pulse
from shared.telemetry import logging, tracing

log = logging.get_logger(__name__)
_BEAT_SECONDS = 1.0
_STUCK_SECONDS = 15.0
_CLEANING_SECONDS = 600.0


def build(settings: Settings) -> Context:
    """The parts of an api. Raises ValueError for a secrets key that is none."""
    process = Process("api", settings.instance)
    database = Database(
        settings.database_url,
        application=f"commandcenter-api {process.instance}"[:63],
        pool_size=settings.api_threads + 2,  # the pulse, and forgetting idempotency keys
    )
    return Context(
        settings,
        process,
        database,
        Pulse(database, process),
        Authenticator(settings, database),
        RateLimiter(settings.requests_per_minute),
        ArtifactStore(settings.store_url),
        SecretBox.open(settings.secrets_key, settings.home),
    )


def application(context: Context) -> Envelope:
    """The whole ASGI application."""
    app = create_app(context)
    app.router.lifespan_context = _lifespan(context)
    return Envelope(
        app,
        max_body_bytes=context.settings.max_body_bytes,
        origins=frozenset(context.settings.cors_origins),
        local_only=context.settings.auth == "none",
        silence=context.pulse.silence,
    )


def _lifespan(context: Context):  # type: ignore[no-untyped-def] # the type of FastAPI's own parameter is private
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = context.settings.api_threads
        context.pulse.start()
        # Apart: a frozen PostgreSQL keeps the chores, and the process lives all the same.
        tasks = asyncio.create_task(_beat(context)), asyncio.create_task(_chores(context))
        yield
        context.process.stopping.set()
        for task in tasks:
            task.cancel()

    return lifespan


async def _beat(context: Context) -> None:
    """Show that the event loop turns."""
    while True:
        context.process.beat("event loop", _STUCK_SECONDS)
        await asyncio.sleep(_BEAT_SECONDS)


async def _chores(context: Context) -> None:
    """Warn of a locked api, and now and then forget old idempotency keys."""
    await to_thread.run_sync(_warn_if_locked, context)
    while True:
        await to_thread.run_sync(_forget, context)
        await asyncio.sleep(_CLEANING_SECONDS)


def _warn_if_locked(context: Context) -> None:
    """Say once that nobody can get in, and how the first key is made."""
    settings = context.settings
    if settings.auth == "none" or settings.admin_key is not None or settings.oidc_issuer is not None:
        return
    way_out = "set COMMANDCENTER_ADMIN_KEY (32 characters or more) to make the first key"
    try:
        with context.database.transaction() as connection:
            if not api_keys.any_usable(connection):
                log.warning(f"Nobody can get in: there is no API key; {way_out}", action="access.locked")
    except DatabaseUnavailable as error:
        log.warning(
            f"Whether there is an API key is not known: {error}; without any, {way_out}", action="access.unknown"
        )


def _forget(context: Context) -> None:
    try:
        with context.database.transaction() as connection:
            idempotency.forget_old(connection, context.settings.idempotency_hours)
    except DatabaseUnavailable as error:
        log.warning(f"Old idempotency keys wait: {error}", action="idempotency.waits")


def serve(settings: Settings) -> int:
    """Serve until asked to stop; returns the exit code."""
    logging.configure("api", settings)
    traces = tracing.configure("api", settings)
    try:
        context = build(settings)
    except ValueError as error:
        print(f"COMMANDCENTER_SECRETS_KEY: {error}", file=sys.stderr)  # noqa: T201
        return 2
    # uvicorn handles the signals while it serves, and raises them again once it has stopped: then they are done with.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: context.process.stopping.set())
    server = uvicorn.Server(
        uvicorn.Config(
            application(context),
            host=settings.host,
            port=settings.api_port,
            log_config=None,
            access_log=False,
            server_header=False,
            # Who asked is on record: only a proxy that is named may say it was somebody else.
            proxy_headers=settings.trusted_proxies is not None,
            forwarded_allow_ips=settings.trusted_proxies or "",
            timeout_graceful_shutdown=2,
            timeout_keep_alive=30,
            http=Connection,
            ws="none",
        )
    )
    gc.freeze()  # what lives as long as the process need not be looked through again and again, while requests wait
    try:
        server.run()
    finally:
        context.database.close()
        traces.shutdown()
    return 0 if server.started else 1
