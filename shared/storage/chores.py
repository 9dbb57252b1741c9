"""When each chore of the health service last ran (table facts): a new lease holder goes on where the old one was."""

from datetime import datetime

from sqlalchemy import Connection, text

_READ = text("SELECT CAST(value AS timestamptz) FROM facts WHERE name = :name")
_NOTE = text(
    "INSERT INTO facts (name, value) VALUES (:name, :value)"
    " ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_at = clock_timestamp()"
)


def last_run(connection: Connection, chore: str) -> datetime | None:
    """When the chore last ran to its end; None: never."""
    found: datetime | None = connection.execute(_READ, {"name": f"chore.{chore}"}).scalar_one_or_none()
    return found


def note_run(connection: Connection, chore: str, at: datetime) -> None:
    """It ran to its end."""
    connection.execute(_NOTE, {"name": f"chore.{chore}", "value": at.isoformat()})
