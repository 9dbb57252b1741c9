"""Whether the tables are those this program was written for. Asked by every service before it says that it is ready.

Only an older database counts as wrong: while a new version is rolled out, the migration step comes first, and services
of the version before work on with its tables.
"""

from collections.abc import Callable

NEWEST = "0015_timers_vacuum"
"""The last migration, by its name; a test holds it to migrations/versions. Names begin with their number."""
_WAY_OUT = "run the migration step (python -m migrations)"


def lacking(ask: Callable[[str], object]) -> str | None:
    """None when the tables are there, else one sentence. `ask` runs a statement and returns its one value."""
    noted = ask("SELECT to_regclass('alembic_version')::text") is not None
    found = ask("SELECT max(version_num) FROM alembic_version") if noted else None
    if found is None:
        return f"the database has no tables yet: {_WAY_OUT}"
    if str(found) < NEWEST:
        return f"the tables are at {found}, this version needs {NEWEST}: {_WAY_OUT}"
    return None
