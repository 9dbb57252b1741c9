"""Retention: once a day what is older than the settings say goes, whole partitions first. Called by duty.py.

Each part fails by itself: a table that is locked, behind a backup, keeps no other from its turn, and the round comes
again until all is done.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from services.health.duty import NotYet
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


@dataclass(slots=True)
class _Round:
    """What one round has done, and what it has to leave to the next."""

    dropped: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    rows: int = 0
    unfinished: list[str] = field(default_factory=list)


class Retention:
    """Throws away what is old."""

    def __init__(
        self,
        database: Database,
        periods: Periods,
        expire_artifacts: Callable[[date, Collection[date]], int],
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """`expire_artifacts(before, kept)` removes the files of earlier days except those, and counts the days.

        `alive` is called at every step: all of them may take long.
        """
        self._database, self._periods = database, periods
        self._expire_artifacts = expire_artifacts
        self._alive = alive

    def run(self, now: datetime) -> None:
        """One round. What still holds open jobs stays until tomorrow. Raises NotYet when something was in the way."""
        with self._database.transaction() as connection:
            window = retention.longest_window(connection)
        # The day in which the window begins is still written to.
        writable = now - window - timedelta(days=1)
        jobs_before = min(now - timedelta(days=self._periods.jobs), writable)
        done = _Round()
        self._drop("jobs", jobs_before, done)
        days_kept = {retention.day_of("jobs", name) for name in done.kept}
        audit_before = now - timedelta(days=self._periods.audit)
        self._drop("audit_log", audit_before, done)
        self._expire_default_audit(audit_before.date(), done)
        for table, days in self._periods.rows.items():
            self._delete(table, now - timedelta(days=days), done)
        self._delete("jobs_default", jobs_before, done)
        # Where a job may still be written, its files are too.
        files_before = min(now - timedelta(days=self._periods.artifacts), writable)
        self._alive()
        days = self._expire_artifacts(files_before.date(), days_kept)
        said = f"{len(done.dropped)} partitions dropped, {done.rows} rows deleted, artifacts of {days} days removed"
        if done.unfinished:
            raise NotYet(f"{said}; {', '.join(done.unfinished)}")
        log.info("Retention completed: %s", said, action=ACTION, partitions=" ".join(done.dropped) or None)

    def _drop(self, parent: str, before: datetime, done: _Round) -> None:
        with self._database.transaction() as connection:
            names = retention.old_partitions(connection, parent, before.date())
        for name in names:
            self._alive()
            try:
                with self._database.transaction() as connection:
                    dropped = retention.drop(connection, parent, name)
            except DatabaseUnavailable as error:  # a lock that did not come in time, too
                done.unfinished.append(f"{name} stays: {error}")
                done.kept.append(name)
                continue
            if dropped:
                done.dropped.append(name)
            else:
                done.kept.append(name)
                log.warning("A partition still holds open jobs and stays", partition=name, action=ACTION)

    def _expire_default_audit(self, before: date, done: _Round) -> None:
        removed = 1
        try:
            while removed:
                self._alive()
                with self._database.transaction() as connection:
                    removed = retention.expire_default_audit(connection, before)
                done.rows += removed
        except DatabaseUnavailable as error:
            done.unfinished.append(f"audit_log_default is not done: {error}")

    def _delete(self, table: str, before: datetime, done: _Round) -> None:
        after = None
        try:
            while True:
                self._alive()
                with self._database.transaction() as connection:
                    deleted, after = retention.delete_rows(connection, table, before, after)
                done.rows += deleted
                if after is None:
                    return
        except DatabaseUnavailable as error:
            done.unfinished.append(f"{table} is not done: {error}")
