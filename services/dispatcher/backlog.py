"""Which due timers the next batch locks: in due order over all projects, or by turns once there is a backlog.

Shared by the tick's two lanes, which claim different rows at the same time (SKIP LOCKED): a lock guards the choice,
never a statement.
"""

import threading
from collections import defaultdict
from datetime import datetime

from services.dispatcher.turns import Turns
from shared import clock
from shared.storage import dispatch
from shared.storage.dispatch import DueTimer
from shared.storage.session import Session

REFRESH_SECONDS = 0.4
"""How old the list of projects with something due may be: a newly due project waits at most so long for its turn."""


class Backlog:
    """`active` is set while more is due than one batch holds."""

    def __init__(self) -> None:
        self.active = threading.Event()
        self._lock = threading.Lock()
        self._turns = Turns([])
        self._until = 0.0

    def take(self, session: Session, now: datetime, batch: int) -> list[DueTimer]:
        """Lock up to about `batch` due timers in the open transaction."""
        if not self.active.is_set():
            timers = dispatch.claim(session, now, batch)
            if len(timers) >= batch:
                self.active.set()
            return timers
        with self._lock:
            stale = clock.monotonic() >= self._until
            if stale:
                self._until = clock.monotonic() + REFRESH_SECONDS  # one lane asks, the other goes on
        if stale:
            turns = Turns(dispatch.projects_due(session, now))
            with self._lock:
                self._turns = turns
        with self._lock:
            alone = len(self._turns) < 2
            shares = [] if alone else self._turns.next(batch)
        timers = dispatch.claim(session, now, batch) if alone else dispatch.claim_by_turns(session, now, shares)
        if alone and len(timers) < batch:
            self.end()
        elif not alone:
            self._drop_dry(shares, timers)
        return timers

    def end(self) -> None:
        """Nothing more is due than a batch holds, or this dispatcher leads no more."""
        self.active.clear()
        with self._lock:
            self._turns, self._until = Turns([]), 0.0

    def _drop_dry(self, shares: list[tuple[int, int]], timers: list[DueTimer]) -> None:
        got: dict[int, int] = defaultdict(int)
        for timer in timers:
            got[timer.project_id] += 1
        with self._lock:
            self._turns.drop({project for project, share in shares if got[project] < share})
            if not len(self._turns):
                self._until = 0.0  # all that were due are served: ask anew
