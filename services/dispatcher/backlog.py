"""Which due timers the next batch locks: in due order over all projects, or, once the largest batch's worth is claimed
and more is due, by turns.

The first batches of many that fall due at once are small, so that the relay publishes one while the next are claimed:
in one large batch nothing of a full minute's herd would be out before all of it is committed.

Shared by the tick's two lanes, which claim different rows at the same time (SKIP LOCKED): a lock guards the choice,
never a statement.
"""

import threading
from collections import Counter
from datetime import datetime, timedelta

from services.dispatcher.floor import Floor
from services.dispatcher.turns import Turns
from shared import clock
from shared.storage import dispatch
from shared.storage.dispatch import DueTimer
from shared.storage.session import Session

FIRST_BATCH = 500
"""How many the first batches hold; the later ones up to half of what was claimed before them."""
LOOK_SECONDS = 0.4
"""How long a project that has something due only now waits at most for its place in the line."""
WALK_SHARE = 25
"""Asking every project costs a step of an index each: that is done so many times further apart than it takes."""
NEWLY_DUE_MOST = 5_000
"""Timers fallen due since the last look that are looked at one by one; where there are more, every project is asked."""
LOOK_BACK = timedelta(seconds=1)
"""A change of a timer is seen only when it is committed, which is a little later than the instant it was judged by."""


class Backlog:
    """`active` is set while more is due than the batches so far have held."""

    def __init__(self, floor: Floor) -> None:
        self.floor = floor
        self.active = threading.Event()
        self._lock = threading.Lock()
        self._turns = Turns()
        self._claimed = 0
        """Since `active` was set."""
        self._look_at = self._walk_at = 0.0
        self._seen: datetime | None = None

    def next_due(self, session: Session) -> tuple[datetime | None, datetime]:
        """The earliest instant of dispatch, and the database's time; raises the floor to it."""
        look = self.floor.look()
        earliest, now = dispatch.next_due(session, look.at)
        self.floor.looked(look, earliest)
        return earliest, now

    def take(self, session: Session, now: datetime, most: int) -> list[DueTimer]:
        """Lock a batch of due timers in the open transaction: about `most`, the first batches of a herd fewer."""
        with self._lock:
            claimed = self._claimed
        batch = min(most, max(FIRST_BATCH, claimed // 2))
        shares = self._shares(session, now, batch) if claimed >= most else []
        floor = self.floor.at()
        if shares:
            timers = dispatch.claim_by_turns(session, floor, now, shares)
            self._drop_dry(shares, timers)
        else:
            timers = dispatch.claim(session, floor, now, batch)
            if len(timers) < batch:
                self.end()
                return timers
        with self._lock:
            if not shares:
                self.active.set()
            if self.active.is_set():  # else the other lane has found the end meanwhile
                self._claimed += len(timers)
        return timers

    def _shares(self, session: Session, now: datetime, batch: int) -> list[tuple[int, int]]:
        """(project_id, at most so many) for the next batch; none where all that is due is one project's."""
        self._look(session, now)
        with self._lock:
            return self._turns.next(batch) if len(self._turns) > 1 else []

    def end(self) -> None:
        """Nothing more is due than a batch holds, or this dispatcher leads no more."""
        with self._lock:
            self.active.clear()
            self._turns = Turns()
            self._claimed = 0
            self._look_at = self._walk_at = 0.0
            self._seen = None

    def _look(self, session: Session, now: datetime) -> None:
        """Let newcomers into the line when it is time; one lane asks, the other goes on."""
        began = clock.monotonic()
        with self._lock:
            if began < self._look_at:
                return
            self._look_at = began + LOOK_SECONDS
            seen, walk = self._seen, self._seen is None or began >= self._walk_at
            self._seen = now
        if seen is not None and not walk:
            newcomers = dispatch.projects_newly_due(session, seen - LOOK_BACK, now, NEWLY_DUE_MOST)
            if newcomers is not None:
                with self._lock:
                    self._turns.add(newcomers)
                return
        projects = dispatch.projects_due(session, now)
        ended = clock.monotonic()
        with self._lock:
            self._turns.replace(projects)
            self._walk_at = ended + WALK_SHARE * (ended - began)

    def _drop_dry(self, shares: list[tuple[int, int]], timers: list[DueTimer]) -> None:
        got = Counter(timer.project_id for timer in timers)
        with self._lock:
            self._turns.drop([project for project, share in shares if got[project] < share])
            if not len(self._turns):
                self._look_at = self._walk_at = 0.0  # all that were due are served: ask everybody anew
