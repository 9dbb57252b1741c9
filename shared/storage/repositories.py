"""Repositories: what analysis and sync work on (table repositories). Written by the api alone, read by workers."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import IntegrityError

from shared.storage.errors import NameTaken

_COLUMNS = "id, project_id, name, url, default_branch, version, created_at, updated_at"
_GET = f"SELECT {_COLUMNS} FROM repositories WHERE id = :id AND deleted_at IS NULL"  # noqa: S608
_INSERT = text(
    f"INSERT INTO repositories (project_id, name, url, default_branch)"  # noqa: S608
    f" VALUES (:project_id, :name, :url, :default_branch) RETURNING {_COLUMNS}"
)
_UPDATE = text(
    f"UPDATE repositories SET name = :name, url = :url, default_branch = :default_branch, version = version + 1,"  # noqa: S608
    f" updated_at = now() WHERE id = :id RETURNING {_COLUMNS}"
)
_DELETE = text("UPDATE repositories SET deleted_at = now(), version = version + 1 WHERE id = :id")
_VISIBLE = (
    "deleted_at IS NULL AND (CAST(:projects AS bigint[]) IS NULL OR project_id = ANY(CAST(:projects AS bigint[])))"
)
_LIST = text(f"SELECT {_COLUMNS} FROM repositories WHERE {_VISIBLE} ORDER BY id LIMIT :limit OFFSET :offset")  # noqa: S608
_COUNT = text(f"SELECT count(*) FROM repositories WHERE {_VISIBLE}")  # noqa: S608


def get(connection: Connection, repository_id: int, *, lock: bool = False) -> Row[Any] | None:
    """A repository by id; None when there is none or it has been deleted."""
    return connection.execute(text(_GET + " FOR UPDATE" if lock else _GET), {"id": repository_id}).one_or_none()


def list_page(
    connection: Connection, project_ids: Sequence[int] | None, page: int, page_size: int
) -> tuple[Sequence[Row[Any]], int]:
    """One page of some projects' repositories by id, and their number."""
    visible = {"projects": None if project_ids is None else list(project_ids)}
    rows = connection.execute(_LIST, visible | {"limit": page_size, "offset": (page - 1) * page_size}).all()
    return rows, int(connection.execute(_COUNT, visible).scalar_one())


def insert(connection: Connection, values: Mapping[str, object]) -> Row[Any]:
    """A new repository: project_id, name, url, default_branch. Raises NameTaken."""
    try:
        return connection.execute(_INSERT, dict(values)).one()
    except IntegrityError as error:
        raise NameTaken("repository", str(values["name"])) from error


def update(connection: Connection, repository_id: int, values: Mapping[str, object]) -> Row[Any]:
    """A locked repository with new name, url and default_branch. Raises NameTaken."""
    try:
        return connection.execute(_UPDATE, dict(values) | {"id": repository_id}).one()
    except IntegrityError as error:
        raise NameTaken("repository", str(values["name"])) from error


def delete(connection: Connection, repository_id: int) -> None:
    """Mark a repository deleted; jobs that name it fail saying so."""
    connection.execute(_DELETE, {"id": repository_id})
