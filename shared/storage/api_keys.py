"""API keys (table api_keys): a digest each, never the key itself. Written by the api alone."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

_COLUMNS = "id, name, prefix, role, project_ids, created_by, created_at, expires_at, last_used_at, revoked_at"
_USABLE = text(
    "SELECT id, name, digest, role, project_ids FROM api_keys WHERE prefix = :prefix AND revoked_at IS NULL"
    " AND (expires_at IS NULL OR expires_at > now())"
)
_NOTE_USE = text("UPDATE api_keys SET last_used_at = now() WHERE id = :id")
_ANY_USABLE = text(
    "SELECT EXISTS (SELECT FROM api_keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()))"
)
_LIST = text(f"SELECT {_COLUMNS} FROM api_keys ORDER BY id LIMIT :limit OFFSET :offset")  # noqa: S608
_COUNT = text("SELECT count(*) FROM api_keys")
_GET = text(f"SELECT {_COLUMNS} FROM api_keys WHERE id = :id")  # noqa: S608
_LOCK = text(f"{_GET.text} FOR UPDATE")
_INSERT = text(
    f"INSERT INTO api_keys (name, prefix, digest, role, project_ids, created_by, expires_at)"  # noqa: S608
    f" VALUES (:name, :prefix, :digest, :role, CAST(:project_ids AS bigint[]), :created_by, :expires_at)"
    f" RETURNING {_COLUMNS}"
)
_ROTATE = text(
    f"UPDATE api_keys SET prefix = :prefix, digest = :digest, last_used_at = NULL"  # noqa: S608
    f" WHERE id = :id AND revoked_at IS NULL RETURNING {_COLUMNS}"
)
_REVOKE = text("UPDATE api_keys SET revoked_at = now() WHERE id = :id AND revoked_at IS NULL")


def usable(connection: Connection, prefix: str) -> Row[Any] | None:
    """The key that counts under a prefix (id, name, digest, role, project_ids); None without one."""
    return connection.execute(_USABLE, {"prefix": prefix}).one_or_none()


def note_use(connection: Connection, key_id: int) -> None:
    """It was used: asked only once its secret has been seen to be right."""
    connection.execute(_NOTE_USE, {"id": key_id})


def any_usable(connection: Connection) -> bool:
    """Whether there is a key that counts."""
    return bool(connection.scalar(_ANY_USABLE))


def get(connection: Connection, key_id: int, *, lock: bool = False) -> Row[Any] | None:
    """A key by id, revoked ones too."""
    return connection.execute(_LOCK if lock else _GET, {"id": key_id}).one_or_none()


def list_page(connection: Connection, page: int, page_size: int) -> tuple[Sequence[Row[Any]], int]:
    """One page of all keys, revoked ones too, and their number."""
    rows = connection.execute(_LIST, {"limit": page_size, "offset": (page - 1) * page_size}).all()
    return rows, int(connection.execute(_COUNT).scalar_one())


def insert(
    connection: Connection,
    *,
    name: str,
    prefix: str,
    digest: bytes,
    role: str,
    project_ids: Sequence[int] | None,
    created_by: str,
    expires_at: datetime | None,
) -> Row[Any]:
    """Store a new key."""
    values = {
        "name": name,
        "prefix": prefix,
        "digest": digest,
        "role": role,
        "project_ids": None if project_ids is None else list(project_ids),
        "created_by": created_by,
        "expires_at": expires_at,
    }
    return connection.execute(_INSERT, values).one()


def rotate(connection: Connection, key_id: int, prefix: str, digest: bytes) -> Row[Any]:
    """Give a locked key that counts a new secret; the old one ends at once."""
    return connection.execute(_ROTATE, {"id": key_id, "prefix": prefix, "digest": digest}).one()


def revoke(connection: Connection, key_id: int) -> None:
    """End a locked key for good."""
    connection.execute(_REVOKE, {"id": key_id})
