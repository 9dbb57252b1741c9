"""When each chore of the health service last ran (table facts): a new lease holder goes on where the old one was."""

from datetime import datetime

from sqlalchemy import Connection, text

_READ = text(
    "SELECT (SELECT CAST(value AS timestamptz) FROM facts WHERE name = :name) AS last, clock_timestamp() AS now"
)
_NOTE = text(
    "INSERT INTO facts (name, value) VALUES (:name, :value)"
    " ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_at = clock_timestamp()"
)


def last_run(connection: Connection, chore: str) -> tuple[datetime | None, datetime]:
    """When the chore last ran to its end (None: never), and what time it is now, both by PostgreSQL's clock."""
    row = connection.execute(_READ, {"name": f"chore.{chore}"}).one()
    return row.last, row.now


def note_run(connection: Connection, chore: str, at: datetime) -> None:
    """It ran to its end."""
    connection.execute(_NOTE, {"name": f"chore.{chore}", "value": at.isoformat()})
