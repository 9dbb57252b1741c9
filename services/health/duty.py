"""The chores that one replica does for all: it holds the lease `health-monitor` and runs each chore when it falls due.

Every chore may run twice without harm, so the lease is a courtesy, not a fence: a deposed holder at worst repeats work.
The lease has a thread of its own, so that a chore which takes its time does not hand the duty to another replica in its
midst; and so have the daily chores, which may take hours and must not keep the frequent ones waiting.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
REST = timedelta(minutes=1)
"""How long a chore that failed is let alone, if it does not come more often anyway."""
_FREQUENT, _DAILY, _HOLDING = "duty", "daily duty", "lease"
_PROMISES = {_FREQUENT: 600.0, _DAILY: 3_600.0, _HOLDING: 600.0}
"""Parts of the process, and the seconds within which each says that it lives."""


class NotYet(Exception):
    """A chore could not do all of it now, and says so in one sentence. It is tried again after a rest."""


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to do every so often (`every`), or daily at a time (`daily_at`, UTC)."""

    name: str
    run: Callable[[datetime], None]
    every: timedelta | None = None
    daily_at: time | None = None

    def due(self, last: datetime | None, now: datetime) -> bool:
        """Whether it is time, given the last run that ended well. A daily chore that was missed is made up for once.

        A last run that lies ahead was noted before the clock was set back: it excuses nobody for longer than a period.
        """
        if last is None:
            return True
        if self.every is not None:
            return abs(now - last) >= self.every
        if self.daily_at is None:
            return False
        today = datetime.combine(now.date(), self.daily_at, now.tzinfo)
        latest = today if today <= now else today - timedelta(days=1)
        return last < latest or last - now > timedelta(days=1)

    @property
    def rest(self) -> timedelta:
        """How long to wait after a failure."""
        return REST if self.every is None else min(REST, max(self.every, timedelta(seconds=TURN)))


class Duty:
    """Holds the lease and does the chores."""

    def __init__(self, session: Session, database: Database, process: Process, chores_: Sequence[Chore]) -> None:
        self._session, self._database, self._process = session, database, process
        self._frequent = [chore for chore in chores_ if chore.daily_at is None]
        self._daily = [chore for chore in chores_ if chore.daily_at is not None]
        self._epoch: int | None = None
        self._rest_until: dict[str, float] = {}
        self._threads = [
            threading.Thread(target=self._keep_lease, name=_HOLDING, daemon=True),
            threading.Thread(target=self._work, args=(_FREQUENT, self._frequent), name=_FREQUENT, daemon=True),
            threading.Thread(target=self._work, args=(_DAILY, self._daily), name=_DAILY, daemon=True),
        ]

    @property
    def on_duty(self) -> bool:
        """Whether this replica holds the lease, as far as it knows."""
        return self._epoch is not None

    def start(self) -> None:
        """Work until the process stops."""
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float) -> None:
        """Wait for the chores in work, and give the lease up: another replica takes it at once."""
        deadline = clock.monotonic() + seconds
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - clock.monotonic()))
        if not any(thread.is_alive() for thread in self._threads) and self._epoch is not None:
            try:
                leases.release(self._session, LEASE, self._process.instance, self._epoch)
            except (DatabaseUnavailable, StatementRefused):
                log.warning("The lease %s could not be given up: it expires by itself", LEASE)
        self._session.close()

    def alive(self) -> None:
        """A daily chore says so at each of its steps: hours of them are no standstill."""
        self._process.beat(_DAILY, _PROMISES[_DAILY])

    def hold(self) -> bool:
        """Keep the lease, or take it when it is free."""
        holder = self._process.instance
        if self._epoch is not None and leases.renew(self._session, LEASE, holder, self._epoch, LEASE_SECONDS):
            return True
        self._epoch = None
        if leases.look(self._session, LEASE).expired:
            self._epoch = leases.take(self._session, LEASE, holder, LEASE_SECONDS)
            if self._epoch is not None:
                log.info("This replica does the chores from now on", lease=LEASE, epoch=self._epoch)
        return self._epoch is not None

    def turn(self, chores_: Sequence[Chore]) -> None:
        """On duty, do what is due of these."""
        for chore in chores_:
            if self._process.stopping.is_set() or not self.on_duty:
                return
            if clock.monotonic() >= self._rest_until.get(chore.name, 0.0):
                self._attempt(chore)

    def _keep_lease(self) -> None:
        waiting = False
        while not self._process.stopping.wait(TURN):
            self._process.beat(_HOLDING, _PROMISES[_HOLDING])
            try:
                self.hold()
            except (DatabaseUnavailable, StatementRefused) as error:
                self._epoch = None
                if not waiting:
                    log.warning("The chores wait for PostgreSQL: %s", error)
                    metrics.FAULTS.labels("health", "duty").inc()
                waiting = True
            else:
                waiting = False

    def _work(self, part: str, chores_: Sequence[Chore]) -> None:
        while not self._process.stopping.wait(TURN):
            self._process.beat(part, _PROMISES[part])
            self.turn(chores_)

    def _attempt(self, chore: Chore) -> None:
        """Do it if it is due. The time is PostgreSQL's: replicas whose clocks differ do not do it twice."""
        try:
            with self._database.transaction() as connection:
                last, now = chores.last_run(connection, chore.name)
            if last is not None:
                metrics.CHORE_LAST_RUN.labels(chore.name).set(last.timestamp())
            if not chore.due(last, now):
                return
            chore.run(now)
            with self._database.transaction() as connection:
                chores.note_run(connection, chore.name, now)
        except (DatabaseUnavailable, NotYet) as error:
            log.warning("The chore %s is tried again: %s", chore.name, error, action=chore.name)
        except Exception:  # a chore's boundary: one that fails must not keep the others from their work
            log.exception("The chore %s failed and is tried again", chore.name, action=chore.name)
        else:
            metrics.CHORE_LAST_RUN.labels(chore.name).set(now.timestamp())
            return
        metrics.FAULTS.labels("health", f"chore_{chore.name}").inc()
        self._rest_until[chore.name] = clock.monotonic() + chore.rest.total_seconds()
