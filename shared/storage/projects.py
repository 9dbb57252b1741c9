"""Projects: what schedules, repositories and webhooks belong to. Written by the api alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import IntegrityError

from shared.storage.errors import NameTaken

_COLUMNS = "id, name, description, weight, version, created_at, updated_at"
_FIELDS = ("name", "description", "weight")
_GET = text(f"SELECT {_COLUMNS} FROM projects WHERE id = :id")  # noqa: S608
_LOCK = text(f"SELECT {_COLUMNS} FROM projects WHERE id = :id FOR UPDATE")  # noqa: S608
_INSERT = text(
    f"INSERT INTO projects (name, description, weight) VALUES (:name, :description, :weight) RETURNING {_COLUMNS}"  # noqa: S608
)
_UPDATE = text(
    f"UPDATE projects SET name = :name, description = :description, weight = :weight, version = version + 1,"  # noqa: S608
    f" updated_at = now() WHERE id = :id RETURNING {_COLUMNS}"
)
_VISIBLE = "CAST(:projects AS bigint[]) IS NULL OR id = ANY(CAST(:projects AS bigint[]))"
_LIST = text(f"SELECT {_COLUMNS} FROM projects WHERE {_VISIBLE} ORDER BY id LIMIT :limit OFFSET :offset")  # noqa: S608
_COUNT = text(f"SELECT count(*) FROM projects WHERE {_VISIBLE}")  # noqa: S608


def get(connection: Connection, project_id: int, *, lock: bool = False) -> Row[Any] | None:
    """A project by id, or None."""
    return connection.execute(_LOCK if lock else _GET, {"id": project_id}).one_or_none()


def list_page(
    connection: Connection, project_ids: Sequence[int] | None, page: int, page_size: int
) -> tuple[Sequence[Row[Any]], int]:
    """One page of the visible projects by id, and their number."""
    visible = {"projects": None if project_ids is None else list(project_ids)}
    rows = connection.execute(_LIST, visible | {"limit": page_size, "offset": (page - 1) * page_size}).all()
    return rows, int(connection.execute(_COUNT, visible).scalar_one())


def insert(connection: Connection, values: Mapping[str, object]) -> Row[Any]:
    """A new project. Raises NameTaken."""
    try:
        return connection.execute(_INSERT, {name: values[name] for name in _FIELDS}).one()
    except IntegrityError as error:
        raise NameTaken("project", str(values["name"])) from error


def update(connection: Connection, project_id: int, values: Mapping[str, object]) -> Row[Any]:
    """A locked project with new values. Raises NameTaken."""
    try:
        return connection.execute(_UPDATE, {name: values[name] for name in _FIELDS} | {"id": project_id}).one()
    except IntegrityError as error:
        raise NameTaken("project", str(values["name"])) from error
