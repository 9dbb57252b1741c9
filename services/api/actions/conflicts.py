"""Finding which schedules coincide with one. Called after a creation or an edit, and by the conflicts endpoint."""

from datetime import datetime
from typing import Any

from shared.domain.recurrence import Recurrence
from shared.storage.database import Connection
from shared.storage.schedules import StoredSchedule


def of(
    connection: Connection, stored: StoredSchedule, recurrence: Recurrence, conflict_key: str, now: datetime
) -> list[dict[str, Any]]:
    """The conflicts of an enabled schedule."""
    return []
