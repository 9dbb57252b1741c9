"""Webhooks: where deliveries go (table webhooks). Written by the api, read by workers.

One fact comes from elsewhere: a worker disables the webhook whose endpoint answers 410.

`secrets_encrypted` holds what shared/secrets.py sealed; nobody else can read it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import IntegrityError

from shared.storage.errors import NameTaken

_COLUMNS = (
    "id, project_id, name, url, events, enabled, disabled_reason, secrets_encrypted, version, created_at, updated_at"
)
_GET = f"SELECT {_COLUMNS} FROM webhooks WHERE id = :id AND deleted_at IS NULL"  # noqa: S608
_INSERT = text(
    f"INSERT INTO webhooks (project_id, name, url, events, enabled, secrets_encrypted)"  # noqa: S608
    f" VALUES (:project_id, :name, :url, :events, :enabled, :secrets_encrypted) RETURNING {_COLUMNS}"
)
_UPDATE = text(
    f"UPDATE webhooks SET name = :name, url = :url, events = :events, enabled = :enabled,"  # noqa: S608
    f" disabled_reason = CASE WHEN :enabled THEN NULL ELSE disabled_reason END,"
    f" secrets_encrypted = :secrets_encrypted, version = version + 1, updated_at = now()"
    f" WHERE id = :id RETURNING {_COLUMNS}"
)
_DELETE = text("UPDATE webhooks SET deleted_at = now(), secrets_encrypted = NULL, version = version + 1 WHERE id = :id")
_VISIBLE = (
    "deleted_at IS NULL AND (CAST(:projects AS bigint[]) IS NULL OR project_id = ANY(CAST(:projects AS bigint[])))"
)
_LIST = text(f"SELECT {_COLUMNS} FROM webhooks WHERE {_VISIBLE} ORDER BY id LIMIT :limit OFFSET :offset")  # noqa: S608
_COUNT = text(f"SELECT count(*) FROM webhooks WHERE {_VISIBLE}")  # noqa: S608


def get(connection: Connection, webhook_id: int, *, lock: bool = False) -> Row[Any] | None:
    """A webhook by id; None when there is none or it has been deleted."""
    return connection.execute(text(_GET + " FOR UPDATE" if lock else _GET), {"id": webhook_id}).one_or_none()


def list_page(
    connection: Connection, project_ids: Sequence[int] | None, page: int, page_size: int
) -> tuple[Sequence[Row[Any]], int]:
    """One page of some projects' webhooks by id, and their number."""
    visible = {"projects": None if project_ids is None else list(project_ids)}
    rows = connection.execute(_LIST, visible | {"limit": page_size, "offset": (page - 1) * page_size}).all()
    return rows, int(connection.execute(_COUNT, visible).scalar_one())


def insert(connection: Connection, values: Mapping[str, object]) -> Row[Any]:
    """A new webhook: project_id, name, url, events, enabled, secrets_encrypted. Raises NameTaken."""
    try:
        return connection.execute(_INSERT, dict(values)).one()
    except IntegrityError as error:
        raise NameTaken("webhook", str(values["name"])) from error


def update(connection: Connection, webhook_id: int, values: Mapping[str, object]) -> Row[Any]:
    """A locked webhook with new values. Enabling forgets why it was disabled. Raises NameTaken."""
    try:
        return connection.execute(_UPDATE, dict(values) | {"id": webhook_id}).one()
    except IntegrityError as error:
        raise NameTaken("webhook", str(values["name"])) from error


def delete(connection: Connection, webhook_id: int) -> None:
    """Mark a webhook deleted and forget its secrets."""
    connection.execute(_DELETE, {"id": webhook_id})
