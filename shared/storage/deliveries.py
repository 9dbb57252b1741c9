"""The delivery log: one row per attempt to deliver a webhook (table webhook_deliveries). Written by the worker.
health removes old rows (shared/storage/retention.py).

Also here: what the worker needs of a webhook, and its disabling when the receiver says that it is gone for good. That
is the one change to `webhooks` which the api does not make; it counts as a new version like any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from shared.storage.filters import MOST_COUNTED

_ENDPOINT = text(
    "SELECT id, project_id, url, events, secrets_encrypted, enabled, disabled_reason FROM webhooks"
    " WHERE id = :id AND project_id = :project_id AND deleted_at IS NULL"
)
_BEGIN = text(
    "INSERT INTO webhook_deliveries"
    " (webhook_id, project_id, schedule_id, job_id, attempt, message_id, event, url, sent_at)"
    " VALUES (:webhook_id, :project_id, :schedule_id, :job_id, :attempt, :message_id, :event, :url, :sent_at)"
    " RETURNING id"
)
_FINISH = text(
    "UPDATE webhook_deliveries SET outcome = :outcome, status_code = :status_code,"
    " duration_seconds = :duration_seconds, address = :address,"
    " response_body = :response_body, response_cut = :response_cut, error = :error WHERE id = :id"
)
_DISABLE = text(
    "UPDATE webhooks SET enabled = false, disabled_reason = :reason, version = version + 1, updated_at = :now"
    " WHERE id = :id AND url = :url AND enabled AND deleted_at IS NULL"
)
_LIST = text(
    "SELECT id, webhook_id, project_id, schedule_id, job_id, attempt, message_id, event, url, sent_at, outcome,"
    " status_code, duration_seconds, address, response_body, response_cut, error FROM webhook_deliveries"
    " WHERE webhook_id = :webhook_id ORDER BY sent_at DESC, id DESC LIMIT :limit OFFSET :offset"
)
_COUNT = text(
    "SELECT count(*) FROM (SELECT FROM webhook_deliveries WHERE webhook_id = :webhook_id LIMIT :most) AS found"
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A webhook as the worker sees it."""

    id: int
    project_id: int
    url: str
    events: tuple[str, ...]
    secrets_encrypted: bytes | None
    enabled: bool
    disabled_reason: str | None


@dataclass(frozen=True, slots=True)
class Begun:
    """An attempt to deliver that is about to be made."""

    webhook_id: int
    project_id: int
    schedule_id: int
    job_id: int
    attempt: int
    message_id: str
    event: str
    url: str
    sent_at: datetime


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of it. `response_body` is capped by the caller; durations are seconds."""

    outcome: str
    duration_seconds: float
    status_code: int | None = None
    address: str | None = None
    response_body: str | None = None
    response_cut: bool | None = None
    error: str | None = None


def endpoint(connection: Connection, webhook_id: int, project_id: int) -> Endpoint | None:
    """The project's webhook; None when it has none of that id, deleted ones included."""
    row = connection.execute(_ENDPOINT, {"id": webhook_id, "project_id": project_id}).one_or_none()
    if row is None:
        return None
    sealed = None if row.secrets_encrypted is None else bytes(row.secrets_encrypted)
    return Endpoint(row.id, row.project_id, row.url, tuple(row.events), sealed, row.enabled, row.disabled_reason)


def begin(connection: Connection, begun: Begun) -> int:
    """Note that an attempt is about to be made; returns its id in the log."""
    values = {name: getattr(begun, name) for name in Begun.__slots__}
    return int(connection.execute(_BEGIN, values).scalar_one())


def finish(connection: Connection, delivery_id: int, finished: Finished) -> None:
    """Note what became of it. PostgreSQL's text holds no NUL, so a body's are replaced."""
    values = {name: _storable(getattr(finished, name)) for name in Finished.__slots__}
    connection.execute(_FINISH, values | {"id": delivery_id})


def disable(connection: Connection, webhook_id: int, url: str, reason: str, now: datetime) -> bool:
    """Disable a webhook, unless it has been pointed elsewhere meanwhile; returns whether it was."""
    done = connection.execute(_DISABLE, {"id": webhook_id, "url": url, "reason": reason, "now": now})
    return bool(done.rowcount)


def list_page(connection: Connection, webhook_id: int, page: int, page_size: int) -> tuple[Sequence[Row[Any]], int]:
    """One page of a webhook's deliveries, newest first, and their number, exact up to MOST_COUNTED."""
    place = {"webhook_id": webhook_id, "limit": page_size, "offset": (page - 1) * page_size}
    rows = connection.execute(_LIST, place).all()
    return rows, int(connection.execute(_COUNT, {"webhook_id": webhook_id, "most": MOST_COUNTED + 1}).scalar_one())


def _storable(value: object) -> object:
    return value.replace("\x00", "\ufffd") if isinstance(value, str) else value
