"""Retention: once a day what is older than the settings say goes, whole partitions first. Called by duty.py."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from shared.storage import retention
from shared.storage.database import Database, DatabaseUnavailable
from shared.telemetry.logging import get_logger

log = get_logger(__name__)

ACTION = "retention"


@dataclass(frozen=True, slots=True)
class Periods:
    """How many days things are kept."""

    jobs: int
    audit: int
    artifacts: int
    rows: Mapping[str, int] = field(default_factory=dict)
    """By table, for those that are emptied row by row."""


class Retention:
    """Throws away what is old."""

    def __init__(self, database: Database, periods: Periods, expire_artifacts: Callable[[date], int]) -> None:
        """`expire_artifacts(before)` removes the files of runs of earlier days and says how many days went."""
        self._database, self._periods = database, periods
        self._expire_artifacts = expire_artifacts

    def run(self, now: datetime) -> None:
        """One round. What is locked or still open stays for the next."""
        with self._database.transaction() as connection:
            window = retention.longest_window(connection)
        # The day in which the window begins is still written to.
        jobs_before = min(now - timedelta(days=self._periods.jobs), now - window - timedelta(days=1))
        dropped = self._drop("jobs", jobs_before)
        dropped += self._drop("audit_log", now - timedelta(days=self._periods.audit))
        deleted = {table: self._delete(table, now - timedelta(days=days)) for table, days in self._periods.rows.items()}
        deleted["jobs_default"] = self._delete("jobs_default", jobs_before)
        days = self._expire_artifacts((now - timedelta(days=self._periods.artifacts)).date())
        log.info(
            "Retention completed: %d partitions dropped, %d rows deleted, artifacts of %d days removed",
            len(dropped),
            sum(deleted.values()),
            days,
            action=ACTION,
            partitions=" ".join(dropped) or None,
        )

    def _drop(self, parent: str, before: datetime) -> list[str]:
        with self._database.transaction() as connection:
            names = retention.old_partitions(connection, parent, before.date())
        dropped = []
        for name in names:
            try:
                with self._database.transaction() as connection:
                    if not retention.drop(connection, parent, name):
                        log.warning("A partition still holds open jobs and stays", partition=name, action=ACTION)
                        continue
            except DatabaseUnavailable as error:  # a lock that did not come in time, too
                log.warning("A partition could not be dropped and stays: %s", error, partition=name, action=ACTION)
                continue
            dropped.append(name)
        return dropped

    def _delete(self, table: str, before: datetime) -> int:
        deleted = 0
        while True:
            with self._database.transaction() as connection:
                step = retention.delete_rows(connection, table, before)
            deleted += step
            if step == 0:
                return deleted
