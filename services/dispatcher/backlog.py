"""Which due timers the next batch locks: in due order over all projects, or by turns once there is a backlog.

Shared by the tick's two lanes, which claim different rows at the same time (SKIP LOCKED): a lock guards the choice,
never a statement.
"""

import threading
from collections import Counter
from datetime import datetime, timedelta

from services.dispatcher.turns import Turns
from shared import clock
from shared.storage import dispatch
from shared.storage.dispatch import DueTimer
from shared.storage.session import Session

LOOK_SECONDS = 0.4
"""How long a project that has something due only now waits at most for its place in the line."""
WALK_SHARE = 25
"""Asking every project costs a step of an index each: that is done so many times further apart than it takes."""
NEWLY_DUE_MOST = 5_000
"""Timers fallen due since the last look that are looked at one by one; where there are more, every project is asked."""
LOOK_BACK = timedelta(seconds=1)
"""A change of a timer is seen only when it is committed, which is a little later than the instant it was judged by."""


class Backlog:
    """`active` is set while more is due than one batch holds."""

    def __init__(self) -> None:
        self.active = threading.Event()
        self._lock = threading.Lock()
        self._turns = Turns()
        self._look_at = self._walk_at = 0.0
        self._seen: datetime | None = None

    def take(self, session: Session, now: datetime, batch: int) -> list[DueTimer]:
        """Lock up to about `batch` due timers in the open transaction."""
        if not self.active.is_set():
            timers = dispatch.claim(session, now, batch)
            if len(timers) >= batch:
                self.active.set()
            return timers
        self._look(session, now)
        with self._lock:
            shares = self._turns.next(batch) if len(self._turns) > 1 else []
        if shares:
            timers = dispatch.claim_by_turns(session, now, shares)
            self._drop_dry(shares, timers)
        else:
            timers = dispatch.claim(session, now, batch)
            if len(timers) < batch:
                self.end()
        return timers

    def end(self) -> None:
        """Nothing more is due than a batch holds, or this dispatcher leads no more."""
        self.active.clear()
        with self._lock:
            self._turns = Turns()
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
