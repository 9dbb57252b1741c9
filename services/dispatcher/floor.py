"""The instant below which no timer waits, so that looks for due timers begin there.

Why: an index keeps the entries of timers that have moved on until a vacuum may remove them. While a snapshot is open (a
backup, a long report) it may remove none, and a look that begins at the earliest entry of all passes by every dispatch
since that snapshot began: hundreds of thousands after a while, at each look.

The floor is what a look has found: nothing visible lay below. Only those who move timers to an earlier instant can make
that untrue, and they notify, which lowers it (`lower`) or makes it forgotten. Should a notification be lost, the survey
finds it out: a look at everything, every second or two, by another thread than the tick's. Locked timers are visible.
"""

import threading
from collections.abc import Callable
from datetime import datetime
from weakref import WeakSet

from shared import clock
from shared.storage import dispatch
from shared.storage.database import DatabaseUnavailable
from shared.storage.session import Session
from shared.telemetry.logging import get_logger
from shared.telemetry.metrics import FAULTS, SCHEDULES_DUE

log = get_logger(__name__)

SURVEY_SECONDS = 0.9
"""A little less than the rescue's turns are apart."""
SURVEY_SHARE = 20
SURVEY_MOST_SECONDS = 10.0
"""A survey that costs much is made rarer, yet not rarer than this."""
COUNT_SECONDS = 5.0
COUNT_SHARE = 200
"""The same of counting what is due, for which nobody waits."""


class Look:
    """A look under way: its lower bound (None: all timers are looked at), and what it may not have seen."""

    def __init__(self, at: datetime | None) -> None:
        self.at = at
        self.told: datetime | None = None
        """The earliest instant to which a timer is known to have moved since the look began."""
        self.void = False
        """Whether timers may have moved to any instant since, or the bound turned out to be wrong."""


class Floor:
    """For use by any thread; a lock guards each step, never a statement. Trusted once notifications arrive."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at: datetime | None = None
        self._trusted = False
        self._under_way: WeakSet[Look] = WeakSet()
        """Weak: a look that fails never comes back."""

    def at(self) -> datetime | None:
        """Nothing waits for an earlier instant; None: nothing is known."""
        with self._lock:
            return self._at if self._trusted else None

    def look(self, *, whole: bool = False) -> Look:
        """From where to look now; `whole`: from the very beginning all the same. To be asked before the statement."""
        with self._lock:
            look = Look(self._at if self._trusted and not whole else None)
            self._under_way.add(look)
            return look

    def lower(self, to: datetime) -> None:
        """A timer has moved to this instant. Looks under way may not have seen it, and raise the floor no further."""
        with self._lock:
            if self._at is not None:
                self._at = min(self._at, to)
            for look in self._under_way:
                look.told = to if look.told is None else min(look.told, to)

    def forget(self) -> None:
        """Timers may have moved to any instant."""
        with self._lock:
            self._at = None
            self._void_under_way()

    def trust(self, *, hears: bool) -> None:
        """Whether notifications arrive; while they do not, every look begins at the very first."""
        with self._lock:
            self._trusted = hears

    def looked(self, look: Look, earliest: datetime | None) -> bool:
        """The look has found this as the earliest instant; returns whether it lies below the floor."""
        with self._lock:
            self._under_way.discard(look)
            if earliest is None:
                return False
            if look.at is None and self._at is not None and earliest < self._at:
                self._at = earliest
                self._void_under_way()  # they began above it
                return True
            if look.void:
                return False
            if look.at is None:
                self._void_under_way()  # they may not have seen what this one saw
            bound = earliest if look.told is None else min(earliest, look.told)
            self._at = bound if self._at is None else max(self._at, bound)
            return False

    def _void_under_way(self) -> None:
        for look in self._under_way:
            look.void = True


class Survey:
    """Looks at all timers for the earliest. Used by one thread; `found` is called when one lies below the floor."""

    def __init__(self, floor: Floor, found: Callable[[], None]) -> None:
        self._floor = floor
        self._found = found
        self._not_before = self._count_not_before = 0.0

    def moved(self) -> None:
        """This process has moved timers, to any instant."""
        self._floor.forget()
        self._found()

    def turn(self, session: Session) -> None:
        """Look, when it is time; keeps the metric of what is due.

        Raises StatementRefused, or DatabaseUnavailable while it counts.
        """
        began = clock.monotonic()
        if began < self._not_before:
            return
        look = self._floor.look(whole=True)
        try:
            earliest, now = dispatch.next_due(session, None)
        except DatabaseUnavailable as error:
            # It took too long: the floor stands on what is told, and the rescue's other work goes on. Or PostgreSQL is
            # gone, which the next statement finds out.
            self._not_before = clock.monotonic() + SURVEY_MOST_SECONDS
            FAULTS.labels("dispatcher", "survey").inc()
            log.warning("Timers were not surveyed, trying again later: %s", error, action="survey.interrupted")
            return
        ended = clock.monotonic()
        self._not_before = began + min(SURVEY_MOST_SECONDS, max(SURVEY_SECONDS, SURVEY_SHARE * (ended - began)))
        if self._floor.looked(look, earliest):
            self._found()
        if earliest is None or earliest > now:
            SCHEDULES_DUE.set(0)
            self._count_not_before = 0.0  # what falls due next is counted at once
        elif ended >= self._count_not_before:
            SCHEDULES_DUE.set(dispatch.count_due(session, earliest))
            counted = clock.monotonic()
            self._count_not_before = counted + max(COUNT_SECONDS, COUNT_SHARE * (counted - ended))
