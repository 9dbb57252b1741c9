"""The books of what the relay has in hand: outbox rows whose messages are on their way to Kafka, or soon will be.

The tick writes into them (rows it is about to commit, rows it has committed), the relay's thread empties them. A row in
hand is not read from the table again; how many messages are in hand bounds what may be claimed.
"""

import heapq
import threading
from collections.abc import Sequence

from services.dispatcher.encoding import Stored
from shared import clock

MOST_BYTES = 100_000_000
"""Of the outbox's text in hand, at which claiming and reading stop: messages can be large, and memory has an end."""


class InHand:
    """For use by any thread; a lock guards every look."""

    def __init__(self, most: int) -> None:
        """`most`: messages, in hand or seen in the table, at which claiming stops."""
        self._most = most
        self._changed = threading.Condition()
        self._known: dict[int, float] = {}
        """Row id → when it was taken in hand."""
        self._expected: set[int] = set()
        """Rows about to be committed; no later row goes out before they are handed over or forgotten."""
        self._handed: list[tuple[int, Stored]] = []
        """A heap by row id: two lanes may hand over in another order than they committed."""
        self._sizes: dict[int, int] = {}
        self._bytes = 0
        self._messages = 0
        self._unread = most
        """Messages seen in the table beyond those in hand: there is no room until somebody has looked."""
        self._table_changed = True

    # --- what others call

    def wake(self) -> None:
        """The table has something new."""
        with self._changed:
            self._table_changed = True
            self._changed.notify_all()

    def poke(self) -> None:
        """The same without waking anybody. Callable under others' locks."""
        self._table_changed = True

    def expect(self, ids: Sequence[int]) -> None:
        """Rows about to be committed that will be handed over: not to be read from the table."""
        with self._changed:
            now = clock.monotonic()
            self._known.update(dict.fromkeys(ids, now))
            self._expected.update(ids)

    def forget(self, ids: Sequence[int], messages: int = 0) -> None:
        """Rows that are to be read from the table, if they are there at all; so many messages of them were in hand."""
        with self._changed:
            for row_id in ids:
                self._known.pop(row_id, None)
                self._expected.discard(row_id)
                self._bytes -= self._sizes.pop(row_id, 0)
            self._messages -= messages
            self._unread += messages  # they wait as before
            self._table_changed = True
            self._changed.notify_all()

    def hand_over(self, rows: Sequence[tuple[int, Stored]]) -> None:
        """Publish these committed rows."""
        with self._changed:
            for row_id, stored in rows:
                self._expected.discard(row_id)
                heapq.heappush(self._handed, (row_id, stored))
                self._weigh(row_id, len(stored.text))
            self._messages += sum(len(stored.messages) for _, stored in rows)
            self._changed.notify_all()

    def has_room(self) -> bool:
        """Whether more may be claimed: the backlog of unacknowledged messages is below its bound."""
        with self._changed:
            return self._has_room()

    def wait_for_room(self, seconds: float) -> None:
        """Wait for it, at most so long."""
        with self._changed:
            self._changed.wait_for(self._has_room, seconds)

    # --- what the relay's thread calls

    @property
    def messages(self) -> int:
        """How many are in hand and not acknowledged."""
        return self._messages

    @property
    def table_changed(self) -> bool:
        """Whether the table may hold what is not in hand."""
        return self._table_changed

    def next_handed(self) -> tuple[int, Stored] | None:
        """The oldest row handed over, if it may go out now; it is the caller's then."""
        with self._changed:
            return heapq.heappop(self._handed) if self._may_go() else None

    def begin_reading(self) -> list[int]:
        """The rows that a look into the table, begun now, should leave out."""
        with self._changed:
            self._table_changed = False
            return list(self._known)

    def is_full(self) -> bool:
        """Whether no more is to be read from the table until something has been acknowledged."""
        with self._changed:
            return self._messages >= self._most or self._bytes >= MOST_BYTES

    def take(self, row_id: int, messages: int, size: int) -> bool:
        """Register a row read from the table; False where the tick registered it meanwhile and hands it over itself.

        `size`: the length of its text.
        """
        with self._changed:
            if row_id in self._known:
                return False
            self._known[row_id] = clock.monotonic()
            self._weigh(row_id, size)
            self._messages += messages
            return True

    def note_stored(self, messages: int, *, more: bool) -> None:
        """The table holds so many messages, those in hand included; `more`: not all of its rows were read."""
        with self._changed:
            self._unread = max(0, messages - self._messages)
            self._table_changed |= more
            self._changed.notify_all()

    def settled(self, messages: int) -> None:
        """So many more have an outcome. Their row stays known until it is removed, so that it is not read again."""
        with self._changed:
            self._messages = max(0, self._messages - messages)
            self._changed.notify_all()

    def removed(self, ids: Sequence[int]) -> None:
        """Rows that have left the table."""
        with self._changed:
            for row_id in ids:
                self._known.pop(row_id, None)
                self._bytes -= self._sizes.pop(row_id, 0)
            self._changed.notify_all()

    def renew(self, ids: Sequence[int]) -> None:
        """Rows that wait rightly, for a topic: no outcome of theirs is missing."""
        with self._changed:
            self._known.update(dict.fromkeys(ids, clock.monotonic()))

    def clear(self) -> None:
        """Nothing is in hand any more; the table has it all, and is to be measured anew."""
        with self._changed:
            self._known.clear()
            self._handed.clear()
            self._expected.clear()
            self._sizes.clear()
            self._bytes = 0
            self._messages, self._unread = 0, self._most
            self._table_changed = True

    def rows(self) -> int:
        """How many rows are in hand, those included that wait for their removal."""
        with self._changed:
            return len(self._known)

    def oldest(self) -> float | None:
        """When the oldest row was taken in hand (monotonic); not looked for among very many."""
        with self._changed:
            return min(self._known.values(), default=None) if len(self._known) < 10_000 else None

    def wait(self, seconds: float) -> None:
        """Wait until there may be something to publish, at most so long."""
        with self._changed:
            if not self._may_go() and not self._table_changed:
                self._changed.wait(seconds)

    def _weigh(self, row_id: int, size: int) -> None:
        """Under the lock."""
        self._bytes += size - self._sizes.get(row_id, 0)
        self._sizes[row_id] = size

    def _has_room(self) -> bool:
        """Under the lock."""
        return self._messages + self._unread < self._most and self._bytes < MOST_BYTES

    def _may_go(self) -> bool:
        """Under the lock."""
        return bool(self._handed) and (not self._expected or self._handed[0][0] < min(self._expected))
