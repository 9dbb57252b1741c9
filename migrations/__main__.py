"""Bring the database to the newest version. Run by `make start` before the services, and by a job in Kubernetes.

Two runs at once are harmless: an advisory lock lets the second wait and find nothing to do.
"""

import sys
from pathlib import Path

import orjson
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from migrations.roles import separate
from migrations.settings import Settings
from shared.events.task_types import BUILT_IN

_LOCK = 0x436F6D6D  # any fixed number of our own: "Comm"


def upgrade(owner_url: str, services_url: str) -> None:
    """Run what is missing, register the built-in task types, say what the services' role may do, see to partitions."""
    engine = create_engine(owner_url)
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
        connection.commit()
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.execute(
            text(
                "INSERT INTO task_types (name, parameters_schema, owner, description)"
                " VALUES (:name, CAST(:schema AS jsonb), 'built-in', :description) ON CONFLICT (name) DO UPDATE"
                " SET parameters_schema = excluded.parameters_schema, owner = 'built-in',"
                " description = excluded.description"
            ),
            [
                {
                    "name": task_type.name,
                    "schema": orjson.dumps(task_type.parameters_schema).decode(),
                    "description": task_type.description,
                }
                for task_type in BUILT_IN
            ],
        )
        separate(connection, services_url)
        connection.commit()
        # A system that was stopped for longer than its partitions reach gets today's before anything is stored.
        today = "(now() AT TIME ZONE 'UTC')::date"
        connection.execute(text(f"SELECT ensure_partitions({today} - 1, {today} + 8)"))
        connection.commit()
        connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
        connection.commit()
    engine.dispose()


def main() -> int:
    """Upgrade the database of the environment; one sentence and 1 when it cannot be reached."""
    settings = Settings.from_environment()
    try:
        upgrade(settings.owner_url, settings.database_url)
    except OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        print(f"The database cannot be migrated: {reason}. Check {settings.owner_variable}.", file=sys.stderr)
        return 1
    print("The database is at the newest version.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
