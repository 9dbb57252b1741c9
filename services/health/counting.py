"""Counting jobs and audit entries by day for the api's lists, a partition at a time. Called by duty.py."""

from datetime import datetime

from shared.storage import counts
from shared.storage.database import Database


class Counting:
    """Counts what has changed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, now: datetime) -> None:
        """One round. A partition dropped meanwhile, or one too slow to count, raises; the rest waits for the next."""
        del now  # the database's own time says which counts are due
        for parent in ("jobs", "audit_log"):
            with self._database.transaction() as connection:
                stale = counts.stale(connection, parent)
            for partition in stale:
                with self._database.transaction() as connection:
                    counts.refresh(connection, parent, partition)
