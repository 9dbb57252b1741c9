"""The chores that one replica does for all: it holds the lease `health-monitor` and runs each chore when it falls due.

Every chore may run twice without harm, so the lease is a courtesy, not a fence: a deposed holder at worst repeats work.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta

from shared import clock
from shared.process import Process
from shared.storage import chores, leases
from shared.storage.database import Database, DatabaseUnavailable
from shared.storage.session import Session, StatementRefused
from shared.telemetry import metrics
from shared.telemetry.logging import get_logger

log = get_logger(__name__)

LEASE = "health-monitor"
LEASE_SECONDS = 15.0
TURN = 1.0


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to do every so often (`every`), or daily at a time (`daily_at`, UTC)."""

    name: str
    run: Callable[[datetime], None]
    every: timedelta | None = None
    daily_at: time | None = None

    def due(self, last: datetime | None, now: datetime) -> bool:
        """Whether it is time, given the last run that ended well. A daily chore that was missed is made up for once."""
        if self.every is not None:
            return last is None or now - last >= self.every
        if self.daily_at is None:
            return False
        today = datetime.combine(now.date(), self.daily_at, now.tzinfo)
        latest = today if today <= now else today - timedelta(days=1)
        return last is None or last < latest


@dataclass(slots=True)
class _Rest:
    """After a failure a chore rests a while."""

    until: dict[str, float] = field(default_factory=dict)


class Duty:
    """Holds the lease and does the chores, on a thread of its own."""

    def __init__(self, session: Session, database: Database, process: Process, chores_: Sequence[Chore]) -> None:
        self._session, self._database, self._process = session, database, process
        self._chores = chores_
        self._epoch: int | None = None
        self._rest = _Rest()
        self._thread = threading.Thread(target=self._run, name="duty", daemon=True)

    @property
    def on_duty(self) -> bool:
        """Whether this replica holds the lease, as far as it knows."""
        return self._epoch is not None

    def start(self) -> None:
        """Work until the process stops."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Wait for the chore in work, and give the lease up: another replica takes it at once."""
        self._thread.join(seconds)
        if not self._thread.is_alive() and self._epoch is not None:
            try:
                leases.release(self._session, LEASE, self._process.instance, self._epoch)
            except (DatabaseUnavailable, StatementRefused):
                log.warning("The lease %s could not be given up: it expires by itself", LEASE)
        self._session.close()

    def turn(self) -> None:
        """Keep or take the lease; with it, do what is due."""
        if not self._hold():
            return
        for chore in self._chores:
            if self._process.stopping.is_set() or not self._hold():
                return
            if clock.monotonic() >= self._rest.until.get(chore.name, 0.0):
                self._attempt(chore)

    def _run(self) -> None:
        waiting = False
        while not self._process.stopping.wait(TURN):
            self._process.beat("duty", 600)
            try:
                self.turn()
            except (DatabaseUnavailable, StatementRefused) as error:
                self._epoch = None
                if not waiting:
                    log.warning("The chores wait for PostgreSQL: %s", error)
                    metrics.FAULTS.labels("health", "duty").inc()
                waiting = True
            else:
                waiting = False

    def _hold(self) -> bool:
        holder = self._process.instance
        if self._epoch is not None and leases.renew(self._session, LEASE, holder, self._epoch, LEASE_SECONDS):
            return True
        self._epoch = None
        if leases.look(self._session, LEASE).expired:
            self._epoch = leases.take(self._session, LEASE, holder, LEASE_SECONDS)
            if self._epoch is not None:
                log.info("This replica does the chores from now on", lease=LEASE, epoch=self._epoch)
        return self._epoch is not None

    def _attempt(self, chore: Chore) -> None:
        with self._database.transaction() as connection:
            last = chores.last_run(connection, chore.name)
        now = clock.now()
        if not chore.due(last, now):
            return
        try:
            chore.run(now)
        except DatabaseUnavailable:
            raise
        except Exception:  # a chore's boundary: one that fails must not keep the others from their work
            log.exception("The chore %s failed and is tried again in a minute", chore.name, action=chore.name)
            metrics.FAULTS.labels("health", f"chore_{chore.name}").inc()
            self._rest.until[chore.name] = clock.monotonic() + 60
            return
        metrics.CHORE_LAST_RUN.labels(chore.name).set(now.timestamp())
        with self._database.transaction() as connection:
            chores.note_run(connection, chore.name, now)
