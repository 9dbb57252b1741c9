"""Registered task types (table task_types). The migration step registers the built-in ones, the api external ones."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, Row, text

_COLUMNS = "name, parameters_schema, owner, description, created_at"
_GET = text(f"SELECT {_COLUMNS} FROM task_types WHERE name = :name")  # noqa: S608
_LIST = text(f"SELECT {_COLUMNS} FROM task_types ORDER BY owner, name")  # noqa: S608
_NAMES = text("SELECT name FROM task_types ORDER BY name")
_SCHEMAS = text("SELECT name, parameters_schema::text FROM task_types WHERE name = ANY(:names)")
_REGISTER = text(
    f"INSERT INTO task_types (name, parameters_schema, owner, description)"  # noqa: S608
    f" VALUES (:name, CAST(:parameters_schema AS jsonb), 'external', :description)"
    f" ON CONFLICT (name) DO NOTHING RETURNING {_COLUMNS}"
)

_ANNOUNCE = text(
    "INSERT INTO task_types (name, parameters_schema, owner, description)"
    " VALUES (:name, CAST(:parameters_schema AS jsonb), 'external', :description) ON CONFLICT (name) DO UPDATE"
    " SET parameters_schema = excluded.parameters_schema, description = excluded.description"
    " WHERE task_types.owner = 'external' AND (task_types.parameters_schema, task_types.description)"
    " IS DISTINCT FROM (excluded.parameters_schema, excluded.description)"
)


def get(connection: Connection, name: str) -> Row[Any] | None:
    """A task type by name, or None."""
    return connection.execute(_GET, {"name": name}).one_or_none()


def list_all(connection: Connection) -> Sequence[Row[Any]]:
    """Every registered task type, the built-in ones first."""
    return connection.execute(_LIST).all()


def names(connection: Connection) -> list[str]:
    """The names of every registered task type."""
    return list(connection.scalars(_NAMES))


def schemas(connection: Connection, wanted: Collection[str]) -> dict[str, str]:
    """The parameter schemas (JSON text) of those task types that are registered, by name."""
    rows = connection.execute(_SCHEMAS, {"names": sorted(wanted)}).all()
    return {row.name: row.parameters_schema for row in rows}


def register(
    connection: Connection, name: str, parameters_schema: Mapping[str, Any], description: str | None
) -> Row[Any] | None:
    """Register an external type; None when the name is taken."""
    values = {"name": name, "description": description, "parameters_schema": orjson.dumps(parameters_schema).decode()}
    return connection.execute(_REGISTER, values).one_or_none()


def announce(connection: Connection, name: str, parameters_schema: Mapping[str, Any], description: str | None) -> None:
    """Register a plug-in's type, or bring it up to date: the worker that serves it knows its parameters best."""
    values = {"name": name, "description": description, "parameters_schema": orjson.dumps(parameters_schema).decode()}
    connection.execute(_ANNOUNCE, values)
