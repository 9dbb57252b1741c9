"""Makes one dispatcher of many the leader, and tells the others of this process whether it is.

A thread of its own takes, renews and gives up the lease (shared/storage/leases.py). That the lease is believed valid
here only saves work: what a deposed leader cannot do is decided by the fence inside each transaction.
"""

import threading
from collections.abc import Callable

from shared import clock
from shared.process import Process
from shared.storage import leases, schema
from shared.storage.database import DatabaseUnavailable
from shared.storage.session import Session, StatementRefused
from shared.telemetry.logging import get_logger
from shared.telemetry.metrics import FAULTS, LEADER, LEADER_CHANGES, LEADER_EPOCH

log = get_logger(__name__)

LEASE = "dispatcher"
RENEWALS_PER_LEASE = 3
STANDBY_LOOK_SECONDS = 0.2
"""A standby looks this often: what hand-over on a graceful stop costs at most."""
TABLES_LOOK_SECONDS = 1.0
SILENT_SECONDS = 1.0
"""An answer that is out for so much longer than a lease: PostgreSQL is frozen."""


class Leadership:
    """The lease as this process knows it. `epoch()` is what a claiming transaction fences with."""

    def __init__(self, session: Session, process: Process, lease_seconds: float) -> None:
        self._session = session
        self._process = process
        self._seconds = lease_seconds
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._epoch: int | None = None
        self._valid_until = 0.0
        self._leader: str | None = None
        self._last_epoch = 0
        self._release = threading.Event()
        self._on_change: list[Callable[[], None]] = []
        self.holder = process.instance
        self._database: str | None = "not connected to PostgreSQL yet"
        self._asked: float | None = None
        """Since when an answer is waited for."""
        self._answering_since = 0.0
        self._tables: str | None = "not yet looked at"
        LEADER.set_function(lambda: float(self.epoch() is not None))
        self._thread = threading.Thread(target=self._run, name="leadership", daemon=True)

    def epoch(self) -> int | None:
        """The epoch under which this process leads now, or None."""
        with self._lock:
            return self._epoch if self._epoch is not None and clock.monotonic() < self._valid_until else None

    def wait(self, seconds: float) -> int | None:
        """Wait until this process leads, at most so long; returns the epoch or None."""
        deadline = clock.monotonic() + seconds
        with self._changed:
            while self._epoch is None or clock.monotonic() >= self._valid_until:
                left = deadline - clock.monotonic()
                if left <= 0 or self._process.stopping.is_set():
                    return None
                self._changed.wait(left)
            return self._epoch

    def lost(self, epoch: int) -> None:
        """A fence refused this epoch: someone else leads."""
        with self._changed:
            if self._epoch == epoch:
                self._set(None)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call this whenever leadership is won or lost (from any thread, briefly)."""
        self._on_change.append(callback)

    def answering_since(self) -> float:
        """Since when (monotonic) PostgreSQL has answered without a gap."""
        return self._answering_since

    def describe(self) -> str:
        """One sentence: who leads, under which epoch."""
        with self._lock:
            if self._epoch is not None and clock.monotonic() >= self._valid_until:
                return f"this dispatcher led, epoch {self._last_epoch}; its lease ran out and could not be renewed yet"
            who = "this dispatcher" if self._epoch is not None else self._leader or "nobody"
            return f"{who} leads, epoch {self._last_epoch}"

    def database(self) -> str | None:
        """None while PostgreSQL answers, else the sentence. Returns at once."""
        # Frozen it refuses nothing and ends no statement. A take-over waits rightly, for less than a lease.
        asked = self._asked
        silence = 0.0 if asked is None else clock.monotonic() - asked
        if silence > self._seconds + SILENT_SECONDS:
            return f"PostgreSQL has not answered for {silence:.0f} s"
        return self._database or self._tables

    def start(self) -> None:
        """Begin to look for the lease."""
        self._thread.start()

    def stop(self) -> None:
        """Give the lease up at once, so that a standby need not wait for it to expire, and end."""
        self._release.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._release.is_set():
            began = self._asked = clock.monotonic()
            try:
                pause = self._turn()
                ended = clock.monotonic()
                if self._database is not None or ended - began > self._seconds + SILENT_SECONDS:
                    self._answering_since = ended
                self._database = None
            except DatabaseUnavailable as error:
                pause = STANDBY_LOOK_SECONDS
                self._outage(str(error))
            except StatementRefused as error:
                pause = 1.0
                self._session.rollback()
                self._outage(f"{error} (is the database migrated?)")
            self._asked = None
            self._process.beat("leadership", 120)  # a frozen PostgreSQL keeps a statement, and restarts nobody
            self._release.wait(pause)
        self._give_up()

    def _turn(self) -> float:
        """Look, take or renew; returns the seconds until the next turn."""
        began = clock.monotonic()
        with self._lock:
            epoch = self._epoch
        if epoch is not None:
            if leases.renew(self._session, LEASE, self.holder, epoch, self._seconds):
                with self._changed:
                    self._valid_until = began + self._seconds
                return self._seconds / RENEWALS_PER_LEASE
            self._step_down("its lease ran out before it was renewed")
            return 0.0
        if self._tables is not None and not self._see_tables():
            return TABLES_LOOK_SECONDS
        seen = leases.look(self._session, LEASE)
        with self._lock:
            self._leader, self._last_epoch = (None if seen.expired else seen.holder), seen.epoch
        LEADER_EPOCH.set(seen.epoch)
        if not seen.expired or self._process.stopping.is_set():
            return STANDBY_LOOK_SECONDS
        began = clock.monotonic()
        taken = leases.take(self._session, LEASE, self.holder, self._seconds)
        if taken is None:
            return STANDBY_LOOK_SECONDS
        with self._changed:
            # The wait for the deposed leader's last transaction is over only now: judge from when it began, safely.
            self._valid_until = began + self._seconds
            self._last_epoch = taken
            self._set(taken)
        LEADER_CHANGES.inc()
        LEADER_EPOCH.set(taken)
        log.info(
            "This dispatcher leads now, epoch %s; before it led %s",
            taken,
            seen.holder or "nobody",
            action="leader.won",
            epoch=taken,
        )
        return 0.0

    def _see_tables(self) -> bool:
        """Whether this version's tables are there: who leads without them looks after no retry and no lost worker."""
        lacking = schema.lacking(lambda statement: self._session.execute(statement)[0][0])
        if lacking is not None and lacking != self._tables:
            log.warning("This dispatcher does not lead yet: %s", lacking, action="tables.lacking")
        self._tables = lacking
        return lacking is None

    def _outage(self, sentence: str) -> None:
        if self._database is None:
            log.warning("PostgreSQL does not answer, waiting for it: %s", sentence, action="database.lost")
            FAULTS.labels("dispatcher", "database").inc()
        self._database = f"PostgreSQL does not answer: {sentence}"
        with self._lock:
            leading = self._epoch is not None and clock.monotonic() >= self._valid_until
        if leading:
            self._step_down("PostgreSQL could not be reached to renew its lease")

    def _step_down(self, why: str) -> None:
        with self._changed:
            epoch = self._epoch
            if epoch is None:
                return
            self._set(None)
        log.warning("This dispatcher leads no more (epoch %s): %s", epoch, why, action="leader.lost", epoch=epoch)

    def _give_up(self) -> None:
        with self._changed:
            epoch = self._epoch
            self._set(None)
        if epoch is not None:
            try:
                leases.release(self._session, LEASE, self.holder, epoch)
                log.info("This dispatcher hands over, epoch %s", epoch, action="leader.released", epoch=epoch)
            except (DatabaseUnavailable, StatementRefused) as error:
                log.warning("The lease could not be released and will expire: %s", error, action="leader.released")
        self._session.close()

    def _set(self, epoch: int | None) -> None:
        """Under the lock."""
        self._epoch = epoch
        self._changed.notify_all()
        for callback in self._on_change:
            callback()
