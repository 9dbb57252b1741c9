"""Tables of few things with a name each: projects, repositories, webhooks. Written by the api alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import IntegrityError

from shared.storage.errors import NameTaken
from shared.storage.filters import Filters


class NamedTable:
    """Rows with an id, a name that no other of its kind has, a version that counts changes, and two instants."""

    def __init__(
        self,
        kind: str,
        table: str,
        fields: Sequence[str],
        *,
        read_only: Sequence[str] = (),
        of_project: bool = True,
        also_set: str = "",
        also_erased: str = "",
    ) -> None:
        """`fields` are written, `read_only` come from elsewhere; `also_…` are further SET clauses, comma first.

        `of_project`: the thing belongs to a project and is deleted softly; else it is a project, which stays.
        """
        self._kind, self._table, self._fields = kind, table, tuple(fields)
        self._owner = "project_id" if of_project else "id"
        self._present = "deleted_at IS NULL" if of_project else "true"
        created = ("project_id", *fields) if of_project else self._fields
        columns = ", ".join(dict.fromkeys(("id", *created, *read_only, "version", "created_at", "updated_at")))
        assigned = ", ".join(f"{name} = :{name}" for name in fields)
        self._created = created
        self._select = f"SELECT {columns} FROM {table} WHERE {self._present}"  # noqa: S608 (names of ours)
        self._get = text(f"{self._select} AND id = :id")
        self._lock = text(f"{self._select} AND id = :id FOR UPDATE")
        self._insert = text(
            f"INSERT INTO {table} ({', '.join(created)}) VALUES ({', '.join(f':{name}' for name in created)})"  # noqa: S608
            f" RETURNING {columns}"
        )
        self._update = text(
            f"UPDATE {table} SET {assigned}{also_set}, version = version + 1, updated_at = now()"  # noqa: S608
            f" WHERE id = :id RETURNING {columns}"
        )
        self._delete = text(
            f"UPDATE {table} SET deleted_at = now(){also_erased}, version = version + 1 WHERE id = :id"  # noqa: S608
        )

    def get(self, connection: Connection, identity: int, *, lock: bool = False) -> Row[Any] | None:
        """A row by its id; None when there is none or it has been deleted."""
        return connection.execute(self._lock if lock else self._get, {"id": identity}).one_or_none()

    def list_page(
        self, connection: Connection, project_ids: Sequence[int] | None, page: int, page_size: int
    ) -> tuple[Sequence[Row[Any]], int]:
        """One page of those of some projects (None: of all), oldest first, and their number."""
        filters = Filters(self._present)
        filters.within(self._owner, project_ids)
        rows = connection.execute(
            text(f"{self._select} AND {filters.condition} ORDER BY id LIMIT :limit OFFSET :offset"),
            filters.values | {"limit": page_size, "offset": (page - 1) * page_size},
        ).all()
        counted = f"SELECT count(*) FROM {self._table} WHERE {filters.condition}"  # noqa: S608
        return rows, int(connection.execute(text(counted), filters.values).scalar_one())

    def insert(self, connection: Connection, values: Mapping[str, object]) -> Row[Any]:
        """A new row with these fields. Raises NameTaken."""
        return self._write(connection, self._insert, {name: values[name] for name in self._created})

    def update(self, connection: Connection, identity: int, values: Mapping[str, object]) -> Row[Any]:
        """A locked row with new fields. Raises NameTaken."""
        return self._write(connection, self._update, {name: values[name] for name in self._fields} | {"id": identity})

    def delete(self, connection: Connection, identity: int) -> None:
        """Mark a row deleted; jobs that name it fail saying so."""
        connection.execute(self._delete, {"id": identity})

    def _write(self, connection: Connection, statement: Any, values: dict[str, object]) -> Row[Any]:
        try:
            return connection.execute(statement, values).one()
        except IntegrityError as error:
            raise NameTaken(self._kind, str(values["name"])) from error
