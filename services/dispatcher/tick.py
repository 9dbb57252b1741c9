"""The tick: sleeps until something is due, and claims it.

Sleeps until the next due instant (by PostgreSQL's clock, which judges due-ness), a wake-up, or the longest sleep. Its
answer is a little old when it arrives, so a sleep ends after the instant, not before it. While there is a backlog a
second lane claims beside the first: one lane's statements run while the other one computes.
"""

import threading
from collections.abc import Callable
from datetime import datetime

from services.dispatcher.backlog import Backlog
from services.dispatcher.claimer import Claimer
from services.dispatcher.in_hand import InHand
from services.dispatcher.leadership import Leadership
from services.dispatcher.summary import Summary
from shared.process import Process
from shared.storage.database import DatabaseUnavailable
from shared.storage.session import StatementRefused
from shared.telemetry.logging import get_logger
from shared.telemetry.metrics import FAULTS

log = get_logger(__name__)

RETRY_SECONDS = 0.2
ASSIST_SECONDS = 5.0
"""How often the second lane shows that it is alive while there is nothing for it to do."""


class Tick:
    """Two threads. `told` and `wake` may be called from any."""

    def __init__(
        self,
        lanes: tuple[Claimer, Claimer],
        leadership: Leadership,
        in_hand: InHand,
        process: Process,
        *,
        backlog: Backlog,
        summary: Summary,
        poll_seconds: float,
    ) -> None:
        self._lanes = lanes
        self._leadership = leadership
        self._in_hand = in_hand
        self._process = process
        self._backlog = backlog
        self._summary = summary
        self._poll_seconds = poll_seconds
        self._empty = 0
        self._woken = threading.Event()
        self._stop = threading.Event()
        self.on_held: list[threading.Event] = []
        """Set when jobs were held or made to give way: whoever releases held jobs looks at once."""
        self._threads = (
            threading.Thread(target=self._run, args=(lanes[0], self._lead), name="tick", daemon=True),
            threading.Thread(target=self._run, args=(lanes[1], self._assist), name="tick-2", daemon=True),
        )

    def start(self) -> None:
        """Begin; the threads wait for leadership."""
        for thread in self._threads:
            thread.start()

    def told(self, payload: str) -> None:
        """A notification (`outbox.DUE_CHANNEL`): a timer was moved to this instant, or, without one, to any."""
        floor = self._backlog.floor
        try:
            floor.lower(datetime.fromisoformat(payload))
        except (ValueError, TypeError):  # nothing, or nothing that can be compared with an instant
            floor.forget()
        floor.trust(hears=True)
        self.wake()

    def wake(self) -> None:
        """Look again: something may be due earlier than known."""
        self._woken.set()

    def stop(self) -> None:
        """Finish the batches in hand, claim no more."""
        self._stop.set()
        self._woken.set()
        self._backlog.active.set()
        for thread in self._threads:
            thread.join(10)

    def _run(self, lane: Claimer, turn: Callable[[Claimer, int], None]) -> None:
        while not self._stop.is_set():
            self._process.beat(threading.current_thread().name, 120)
            epoch = self._leadership.wait(0.5)
            if epoch is None:
                self._backlog.end()
                continue
            try:
                turn(lane, epoch)
            except (DatabaseUnavailable, StatementRefused) as error:
                log.warning("A batch was not claimed, trying again: %s", error, action="tick.interrupted")
                FAULTS.labels("dispatcher", "tick_database").inc()
                lane.interrupted()
                self._stop.wait(RETRY_SECONDS)
            if lane.gave_way:
                lane.gave_way = False
                for event in self.on_held:
                    event.set()
        lane.close()

    def _lead(self, lane: Claimer, epoch: int) -> None:
        """One turn of the first lane: sleep or claim."""
        self._summary.flush()
        if not self._in_hand.has_room():
            self._in_hand.wait_for_room(RETRY_SECONDS)
            return
        if not self._backlog.active.is_set():
            self._woken.clear()
            due, now = lane.next_due()
            if due is None or due > now:
                seconds = self._poll_seconds if due is None else (due - now).total_seconds()
                left = self._summary.seconds_left()
                sleep = min(seconds, self._poll_seconds, self._poll_seconds if left is None else left)
                if self._woken.wait(sleep) or sleep < seconds:
                    return
        if lane.claim(epoch):
            self._empty = 0
        else:
            # What is due is being claimed by the other lane, or edited at this very moment.
            self._stop.wait(min(0.05, 0.002 * 2**self._empty))
            self._empty = min(self._empty + 1, 10)

    def _assist(self, lane: Claimer, epoch: int) -> None:
        """One turn of the second lane: claim while there is a backlog."""
        if not self._backlog.active.wait(ASSIST_SECONDS) or self._stop.is_set():
            return
        if not self._in_hand.has_room():
            self._in_hand.wait_for_room(RETRY_SECONDS)
        elif not lane.claim(epoch):
            self._stop.wait(0.002)
