"""The dependency of every route: who calls, with which role, and how their work is put into a transaction."""

import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.concurrency import run_in_threadpool

from services.api.access.principal import Principal, Role
from services.api.answers import Answer
from services.api.context import Context
from services.api.problems import Problem, field_error, not_found
from shared.events.types import Actor
from shared.secrets import SecretUnreadable
from shared.storage import idempotency, schedules
from shared.storage.database import Connection
from shared.storage.schedules import StoredSchedule
from shared.telemetry.logging import get_logger
from shared.telemetry.metrics import REFUSED

log = get_logger(__name__)
_PURPOSE = "idempotency"


@dataclass(frozen=True, slots=True)
class Caller:
    """One request's caller."""

    context: Context
    principal: Principal
    address: str | None
    request: Request

    @property
    def actor(self) -> Actor:
        """Who the change event and the audit log name."""
        identity = self.principal.identity
        own = identity if identity and identity != self.principal.name else None
        return Actor(name=self.principal.name, address=self.address, identity=own)

    def read(self, work: Callable[[Connection], Response]) -> Response:
        """Answer from what is stored."""
        with self.context.database.statements() as connection:
            return work(connection)

    def about(self, schedule_id: int | None) -> None:
        """Name the schedule in the access log's line, where the path does not."""
        self.request.state.schedule_id = schedule_id

    def in_sight(self, schedule_id: int) -> StoredSchedule:
        """A schedule the caller may see. Raises Problem 404."""
        with self.context.database.statements() as connection:
            stored = schedules.get(connection, schedule_id)
        if stored is None or not self.principal.sees(stored.definition.project_id):
            raise not_found("schedule", schedule_id)
        return stored

    def write(self, work: Callable[[Connection], Answer], *, writes_once: bool = False) -> Response:
        """Do the work in one transaction; with an Idempotency-Key, once, the same answer to every repeat.

        `writes_once`: the work's one write is its last statement, which needs no transaction around it.
        """
        key = self.request.headers.get("idempotency-key")
        who = self.principal.identity or self.principal.name  # two keys may have one name: their answers stay apart
        if key is not None and not (0 < len(key) <= 255 and key.isprintable()):
            said = "An Idempotency-Key has 1 to 255 printable characters."
            raise Problem(422, said, errors=[field_error("Idempotency-Key", said, key)])
        database = self.context.database
        with database.statements() if writes_once and key is None else database.transaction() as connection:
            if key is None:
                answer = work(connection)
                content = answer.content()
            else:
                fingerprint = self._fingerprint()
                hours = self.context.settings.idempotency_hours
                earlier = idempotency.begin(connection, who, key, fingerprint, hours)
                if earlier is not None:
                    return self._again(earlier, fingerprint)
                answer = work(connection)
                content = answer.content()
                # Sealed, because an answer can hold a secret that is shown this once.
                sealed = self.context.secrets.seal(content.decode(), _PURPOSE)
                idempotency.finish(connection, who, key, answer.status, answer.headers, sealed)
        if answer.log is not None:
            message, fields = answer.log
            log.info(message, **fields)
        return Response(content, answer.status, dict(answer.headers), "application/json" if content else None)

    def _again(self, earlier: idempotency.Remembered, fingerprint: bytes) -> Response:
        """The answer given before. The same key with another request is a mistake of the caller."""
        if earlier.fingerprint != fingerprint:
            said = "This Idempotency-Key was used for another request."
            raise Problem(422, said, errors=[field_error("Idempotency-Key", "another request needs another key")])
        try:
            body = self.context.secrets.unseal(earlier.body, _PURPOSE)
        except SecretUnreadable as error:
            raise Problem(409, "This was done before, but its answer can no longer be read.") from error
        headers = {**earlier.headers, "Idempotency-Replayed": "true"}
        return Response(body, earlier.status, headers, "application/json" if body else None)

    def _fingerprint(self) -> bytes:
        request = self.request
        body: bytes = getattr(request, "_body", b"")  # FastAPI has read it by now and keeps it there
        # With the projects in sight: who sees fewer now must not be answered what was seen then.
        seen = None if self.principal.project_ids is None else sorted(self.principal.project_ids)
        text = f"{request.method} {request.url.path}?{request.url.query} {seen}\n".encode()
        return hashlib.sha256(text + body).digest()


def _credential(request: Request) -> str | None:
    header = request.headers.get("authorization", "")
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    return request.headers.get("x-api-key")


def known_caller(request: Request) -> Caller | None:
    """The caller whom this request's route has let in already; None where it asks for none."""
    principal = getattr(request.state, "principal", None)
    if principal is None:
        return None
    return Caller(request.app.state.context, principal, request.client.host if request.client else None, request)


def _limit(context: Context, caller: str) -> None:
    """Count a request. Raises Problem 429 beyond the limit."""
    wait = context.limiter.wait_seconds(caller)
    if wait > 0:
        REFUSED.labels("rate").inc()
        raise Problem(429, "Too many requests.", headers={"Retry-After": str(int(wait) + 1)})


def _require(role: Role) -> Callable[[Request], Coroutine[Any, Any, Caller]]:
    async def caller(request: Request) -> Caller:
        context: Context = request.app.state.context
        credential = _credential(request)
        principal = context.authenticator.remembered(credential)
        address = request.client.host if request.client else None
        if principal is None:
            try:
                principal = await run_in_threadpool(context.authenticator.identify, credential)
            except Problem as problem:
                # Wrong credentials count for their address, good ones never do: nobody is locked out by a neighbour.
                if problem.status == HTTPStatus.UNAUTHORIZED:
                    _limit(context, address or "")
                raise
        _limit(context, principal.identity or address or "")
        request.state.actor = principal.name
        if principal.role < role:
            REFUSED.labels("role").inc()
            raise Problem(403, f"This needs the role {role.name.lower()}; yours is {principal.role.name.lower()}.")
        request.state.principal = principal  # not the caller: the request would hold itself, for the collector to find
        return Caller(context, principal, address, request)

    return caller


Viewer = Annotated[Caller, Depends(_require(Role.VIEWER))]
Operator = Annotated[Caller, Depends(_require(Role.OPERATOR))]
Admin = Annotated[Caller, Depends(_require(Role.ADMIN))]
