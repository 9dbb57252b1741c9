"""Counting jobs and audit entries by day for the api's lists, a partition at a time. Called by duty.py.

It also has the task types indexed that the counts show to be rare.
"""

from datetime import datetime

from shared import clock
from shared.storage import counts
from shared.storage.database import Database, DatabaseUnavailable
from shared.telemetry.logging import get_logger

log = get_logger(__name__)

ACTION = "counts"


class Counting:
    """Counts what has changed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, now: datetime) -> None:
        """One round, the newest partition first. One that is too slow to count keeps the others from nothing."""
        del now  # the database's own time says which counts are due
        for parent in ("jobs", "audit_log"):
            with self._database.transaction() as connection:
                stale = counts.stale(connection, parent)
            for partition in stale:
                began = clock.monotonic()
                try:
                    with self._database.transaction() as connection:
                        counts.refresh(connection, parent, partition)
                except DatabaseUnavailable as error:  # its time was over, or PostgreSQL is away
                    with self._database.transaction() as connection:
                        counts.postpone(connection, partition, clock.monotonic() - began)
                    log.warning("Not counted, it takes too long: %s", error, partition=partition.name, action=ACTION)
        # One a round: building it keeps writers of that day waiting, for a few hundred milliseconds at most.
        with self._database.transaction() as connection:
            counts.index_rare_types(connection)
