"""Settles what the relay has published: rows whose every message has an outcome are removed, or published again.

Used by the relay's thread alone. Delivery callbacks only note that a row is complete; everything is done here.
"""

from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime

from services.dispatcher.in_hand import InHand
from services.dispatcher.kafka_watch import KafkaWatch
from services.dispatcher.refused import settle
from shared import clock
from shared.kafka.publisher import Outgoing, Publisher, Receipt
from shared.storage import relay as outbox
from shared.storage.database import DatabaseUnavailable
from shared.storage.session import Session, StatementRefused
from shared.telemetry.logging import get_logger
from shared.telemetry.metrics import DISPATCH_DELAY, FAULTS

log = get_logger(__name__)

MOST_ROWS_REMOVED = 500
REMOVE_AFTER_SECONDS = 0.05
"""Acknowledged rows wait this long for others, so that one statement removes many."""
STUCK_SECONDS = 330.0
"""Longer than librdkafka's delivery timeout: by then every message has an outcome, or the producer has lost it."""
MOST_REPAIRED = 100
"""Rows looked after at a time that Kafka did not take: after a long outage there are thousands, and the relay's other
work does not wait for all of them."""


class Receipts:
    """One for a relay. `publish_again` takes a row's id and those of its messages that are not delivered yet;
    `before_again` is called before the first of several rows.
    """

    def __init__(
        self,
        session: Session,
        in_hand: InHand,
        watch: KafkaWatch,
        *,
        publish_again: Callable[[int, Sequence[Outgoing]], None],
        before_again: Callable[[], None],
    ) -> None:
        self._session = session
        self._in_hand = in_hand
        self._watch = watch
        self._publish_again = publish_again
        self._before_again = before_again
        self._settled: deque[Receipt] = deque()
        self._generation = 0
        """Raised when everything in hand is forgotten: what an earlier producer still reports does not count."""
        self._removable: list[int] = []
        self._removable_since = 0.0

    def open(self, row_id: int, count: int, due_at: Sequence[datetime]) -> Receipt:
        """The receipt of a row of which `count` messages are about to be published."""
        receipt = Receipt((self._generation, row_id), count, self._settled.append)
        receipt.due_at = due_at
        if not count:
            self._settled.append(receipt)
        return receipt

    def clear(self) -> None:
        """Nothing that was opened before counts any more."""
        self._generation += 1
        self._settled.clear()
        self._removable.clear()

    def settle(self, publisher: Publisher) -> None:
        """Look after the rows that are complete. Raises DatabaseUnavailable or StatementRefused."""
        repaired, paused = 0, False
        while self._settled and repaired < MOST_REPAIRED:
            receipt = self._settled.popleft()
            generation, row_id = receipt.context
            if generation != self._generation:
                continue
            if receipt.failures:
                if not paused and any(not failure.permanent for failure in receipt.failures):
                    self._watch.trouble(receipt.failures[0].sentence)
                    self._before_again()
                    paused = True
                repaired += 1
                self._repair(publisher, row_id, receipt)
                continue
            if receipt.count:
                self._watch.acknowledged()
            if not self._removable:
                self._removable_since = clock.monotonic()
            self._removable.append(row_id)
            for instant in receipt.due_at:
                DISPATCH_DELAY.observe((clock.now() - instant).total_seconds())
            self._in_hand.settled(receipt.count)

    def remove(self, *, at_once: bool = False) -> None:
        """Remove acknowledged rows from the table, many at a time. Raises like `settle`."""
        ids = self._removable
        if not ids:
            return
        age = clock.monotonic() - self._removable_since
        if at_once or age >= REMOVE_AFTER_SECONDS or len(ids) >= MOST_ROWS_REMOVED:
            outbox.remove(self._session, ids)
            self._in_hand.removed(ids)
            self._removable = []

    @property
    def removable(self) -> int:
        """How many acknowledged rows wait for their removal."""
        return len(self._removable)

    def any_lost(self) -> bool:
        """Whether a row has had no outcome beyond every timeout: the producer has lost it, the table has not."""
        oldest = self._in_hand.oldest()
        if oldest is None or clock.monotonic() - oldest <= STUCK_SECONDS:
            return False
        log.error("Messages had no outcome in time, publishing them again", action="relay.stuck")
        FAULTS.labels("dispatcher", "outcome_missing").inc()
        return True

    def _repair(self, publisher: Publisher, row_id: int, receipt: Receipt) -> None:
        """Some messages of a row failed: publish those again, and put aside what Kafka refuses for good."""
        FAULTS.labels("dispatcher", "publish_failed").inc(len(receipt.failures))
        log.warning(
            "%s messages were not delivered: %s",
            len(receipt.failures),
            receipt.failures[0].sentence,
            action="relay.not_delivered",
        )
        try:
            remaining = settle(self._session, publisher, row_id, receipt.failures)
        except (DatabaseUnavailable, StatementRefused):
            self._in_hand.forget([row_id], receipt.count)  # to be read and published again as a whole
            self._session.close()
            raise
        self._in_hand.settled(receipt.count - len(remaining))
        self._publish_again(row_id, remaining)
