"""The relay: publishes what transactions have put into the outbox, and removes a row only when every message of it is
acknowledged by Kafka.

The tick hands its rows over from memory after its commit; everyone else's (api, rescue) and everything left by an
earlier leader is read from the table, oldest first. Rows in hand are not read again. Of one schedule, events go out in
the order of their rows: writers hold its timer's lock when they draw the row's id. One thread owns the producer.
"""

import heapq
import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime

from services.dispatcher.encoding import Stored
from services.dispatcher.leadership import Leadership
from services.dispatcher.refused import read_row, settle
from shared import clock
from shared.events.topics import FIXED, Topic, runs_due
from shared.kafka.publisher import Failure, Outgoing, Publisher, Receipt
from shared.kafka.topics import TopicRefused, TopicsUnavailable
from shared.process import Process
from shared.storage import relay as outbox
from shared.storage.database import DatabaseUnavailable
from shared.storage.session import Session, StatementRefused
from shared.telemetry.logging import get_logger
from shared.telemetry.metrics import DISPATCH_DELAY, FAULTS, OUTBOX_AGE, OUTBOX_DEPTH

log = get_logger(__name__)

MOST_ROWS_REMOVED = 500
REMOVE_AFTER_SECONDS = 0.05
"""Acknowledged rows wait this long for others, so that one statement removes many."""
STARTING = "not connected to Kafka yet"
STUCK_SECONDS = 330.0
"""Longer than librdkafka's delivery timeout: by then every message has an outcome, or the producer has lost it."""
_FIXED = {topic.name: topic for topic in FIXED}
IN_HAND_MOST = 200
"""Rows from the table published at a time."""


class Relay:
    """One thread; `expect`, `hand_over`, `forget`, `wake` and the questions may be called from any."""

    def __init__(
        self,
        session: Session,
        leadership: Leadership,
        process: Process,
        *,
        make_publisher: Callable[[], Publisher],
        ensure: Callable[[Sequence[Topic]], None],
        backlog: int,
        poll_seconds: float,
    ) -> None:
        self._session = session
        self._leadership = leadership
        self._process = process
        self._make_publisher = make_publisher
        self._ensure = ensure
        self._backlog = backlog
        self._poll_seconds = poll_seconds
        self._publisher: Publisher | None = None
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._known: dict[int, float] = {}
        """Row id → when it was taken in hand."""
        self._expected: set[int] = set()
        """Rows about to be committed; no later row goes out before they are handed over or forgotten."""
        self._handed: list[tuple[int, Stored]] = []
        """A heap by row id: two lanes may hand over in another order than they committed."""
        self._messages = 0
        """Messages in hand; `_unread` those seen in the table beyond."""
        self._unread = 0
        self._dirty = True
        self._settled: deque[Receipt] = deque()
        self._removable: list[int] = []
        self._removable_since = 0.0
        self._last_read = self._measured = 0.0
        self._stored = 0
        self._topics: set[str] = set()
        self._epoch: int | None = None
        self._stop = threading.Event()
        self.kafka: str | None = STARTING
        """None while Kafka acknowledges, else one sentence."""
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    # --- what others call

    def start(self) -> None:
        """Begin; the thread waits for leadership."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Publish no more, wait this long for what is under way, and end. The rest is the next leader's."""
        self._stop.set()
        self.wake()
        self._thread.join(seconds + 5)

    def wake(self) -> None:
        """The table has something new."""
        with self._changed:
            self._dirty = True
            self._changed.notify_all()

    def poke(self) -> None:
        """Look around (leadership changed). Callable under others' locks."""
        self._dirty = True

    def expect(self, ids: Sequence[int]) -> None:
        """Rows about to be committed that will be handed over: not to be read from the table."""
        with self._lock:
            now = clock.monotonic()
            self._known.update(dict.fromkeys(ids, now))
            self._expected.update(ids)

    def forget(self, ids: Sequence[int]) -> None:
        """Whether these rows exist is uncertain: read them from the table if they do."""
        with self._changed:
            for row_id in ids:
                self._known.pop(row_id, None)
                self._expected.discard(row_id)
            self._dirty = True
            self._changed.notify_all()

    def hand_over(self, rows: Sequence[tuple[int, Stored]]) -> None:
        """Publish these committed rows."""
        with self._changed:
            for row_id, stored in rows:
                self._expected.discard(row_id)
                heapq.heappush(self._handed, (row_id, stored))
            self._messages += sum(len(stored.messages) for _, stored in rows)
            self._changed.notify_all()

    def has_room(self) -> bool:
        """Whether more may be claimed: the backlog of unacknowledged messages is below its bound."""
        with self._lock:
            return self._messages + self._unread < self._backlog

    def wait_for_room(self, seconds: float) -> None:
        """Wait for it, at most so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._messages + self._unread < self._backlog, seconds)

    # --- the thread

    def _run(self) -> None:
        while not self._stop.is_set():
            self._process.beat("relay", 120)
            epoch = self._leadership.wait(0.5)
            try:
                if epoch != self._epoch:
                    self._start_over(epoch)
                if epoch is not None:
                    self._turn()
            except DatabaseUnavailable as error:
                log.warning("The outbox cannot be read or emptied, trying again: %s", error, action="relay.waiting")
                FAULTS.labels("dispatcher", "relay_database").inc()
                self._stop.wait(0.2)
            except TopicsUnavailable as error:
                self._kafka_trouble(str(error))
                self._stop.wait(0.5)
        self._finish()

    def _start_over(self, epoch: int | None) -> None:
        """Leadership changed, or the producer is of no use any more: forget what is in hand, the table has it all."""
        self._epoch = epoch
        if self._publisher is not None:
            self._publisher.abandon()
            self._publisher = None
        with self._changed:
            self._known.clear()
            self._handed.clear()
            self._expected.clear()
            self._messages = self._unread = 0
            self._dirty = True
        self._settled.clear()
        self._removable.clear()

    def _turn(self) -> None:
        publisher = self._publisher
        if publisher is None:
            publisher = self._publisher = self._make_publisher()
            if not self._topics:
                self._ensure(FIXED)
                self._topics.update(topic.name for topic in FIXED)
                self.kafka = None  # it has just answered; with an empty outbox nothing else would tell
        self._publish_handed(publisher)
        now = clock.monotonic()
        if self._dirty or now - self._last_read >= self._poll_seconds:
            self._read(publisher)
        in_flight = self._messages > 0
        publisher.poll(0.001 if in_flight else 0)
        self._settle(publisher)
        self._remove(force=not in_flight)
        if publisher.fatal:
            log.error(
                "Kafka's producer has given up and is made anew: %s", publisher.fatal, action="relay.producer_lost"
            )
            FAULTS.labels("dispatcher", "producer_fatal").inc()
            self._start_over(self._epoch)
            return
        if publisher.trouble:
            self._kafka_trouble(publisher.trouble)
            publisher.trouble = None
        elif self.kafka is not None and not in_flight and publisher.answers(0.5):
            # Nothing is under way whose acknowledgement would tell.
            log.info("Kafka answers again", action="kafka.back")
            self.kafka = None
        self._look_for_lost()
        with self._changed:
            if not self._ready() and not self._dirty and not in_flight:
                wait = self._poll_seconds - (clock.monotonic() - self._last_read)
                if self._removable:
                    wait = min(wait, REMOVE_AFTER_SECONDS)
                self._changed.wait(max(wait, 0.0))

    def _publish_handed(self, publisher: Publisher) -> None:
        while True:
            with self._lock:
                if not self._ready():
                    return
                row_id, stored = heapq.heappop(self._handed)
            self._publish_all(publisher, [(row_id, stored.messages)], stored.due_at)

    def _publish_all(
        self,
        publisher: Publisher,
        rows: Sequence[tuple[int, Sequence[Outgoing]]],
        due_at: Sequence[datetime] = (),
    ) -> None:
        """Publish rows in order; those that could not be begun are not in hand any more."""
        for number, (row_id, messages) in enumerate(rows):
            try:
                self._publish(publisher, row_id, messages, due_at)
            except TopicsUnavailable:
                rest = rows[number:]
                with self._lock:
                    self._messages -= sum(len(unsent) for _, unsent in rest)
                self.forget([unsent for unsent, _ in rest])
                raise

    def _ready(self) -> bool:
        """Whether the oldest row handed over may go out. Under the lock."""
        return bool(self._handed) and (not self._expected or self._handed[0][0] < min(self._expected))

    def _read(self, publisher: Publisher) -> None:
        """Publish rows of the table that are not in hand, as far as the backlog has room."""
        with self._lock:
            self._dirty = False
            known = list(self._known)
        self._last_read = clock.monotonic()
        rows = outbox.read(self._session, known, limit=IN_HAND_MOST)
        stored = self._measure(bool(rows or known))
        taken: list[tuple[int, Sequence[Outgoing]]] = []
        for row in rows:
            messages = read_row(row.messages)
            with self._lock:
                if row.id in self._known:
                    continue  # the tick registered it meanwhile, and hands it over itself
                self._known[row.id] = clock.monotonic()
                self._messages += len(messages)
            taken.append((row.id, messages))
        with self._lock:
            self._unread = max(0, stored - self._messages)
            if len(rows) == IN_HAND_MOST:
                self._dirty = True
        self._publish_all(publisher, taken)

    def _measure(self, any_rows: bool) -> int:
        """How many messages the table holds; asked once a second."""
        now = clock.monotonic()
        if not any_rows:
            self._stored, age = 0, 0.0
        elif now - self._measured < 1.0:
            return self._stored
        else:
            self._stored, age = outbox.depth(self._session)
        self._measured = now
        OUTBOX_DEPTH.set(self._stored)
        OUTBOX_AGE.set(age)
        return self._stored

    def _publish(
        self, publisher: Publisher, row_id: int, messages: Sequence[Outgoing], due_at: Sequence[datetime]
    ) -> None:
        receipt = Receipt((self._epoch, row_id), len(messages), self._settled.append)
        receipt.due_at = due_at
        if not messages:
            self._settled.append(receipt)
            return
        refused = {topic: why for topic in {m.topic for m in messages} - self._topics if (why := self._create(topic))}
        if refused:
            for message in messages:
                if message.topic in refused:
                    why = refused[message.topic]
                    receipt.refuse(Failure(message.topic, message.key, message.value, why, permanent=True))
            messages = [message for message in messages if message.topic not in refused]
        publisher.publish(messages, receipt)

    def _create(self, name: str) -> str | None:
        """Make the topic of a task type, before its first message; returns why it cannot exist, or None."""
        try:
            self._ensure([_FIXED.get(name) or runs_due(name.removeprefix("runs.due."))])
        except (ValueError, TopicRefused) as error:
            return f"topic {name} cannot exist: {error}"
        self._topics.add(name)
        return None

    def _settle(self, publisher: Publisher) -> None:
        """Rows whose every message has an outcome: remove, repeat, or put aside."""
        while self._settled:
            receipt = self._settled.popleft()
            epoch, row_id = receipt.context
            if epoch != self._epoch:
                continue  # of an earlier leadership
            if receipt.failures:
                self._repair(publisher, row_id, receipt)
                continue
            if self.kafka is not None:
                log.info("Kafka acknowledges again", action="kafka.back")
                self.kafka = None
            if not self._removable:
                self._removable_since = clock.monotonic()
            self._removable.append(row_id)
            for instant in receipt.due_at:
                DISPATCH_DELAY.observe((clock.now() - instant).total_seconds())
            with self._changed:
                self._messages = max(0, self._messages - receipt.count)
                self._changed.notify_all()
            # Off the books of what is in flight; known until it is removed, so that it is not read again.

    def _repair(self, publisher: Publisher, row_id: int, receipt: Receipt) -> None:
        """Some messages of a row failed: publish those again, and put aside what Kafka refuses for good."""
        FAULTS.labels("dispatcher", "publish_failed").inc(len(receipt.failures))
        log.warning(
            "%s messages were not delivered: %s",
            len(receipt.failures),
            receipt.failures[0].sentence,
            action="relay.not_delivered",
        )
        self._topics.clear()  # should one be gone, it is made again
        try:
            remaining = settle(self._session, publisher, row_id, receipt.failures)
        except (DatabaseUnavailable, StatementRefused):
            with self._lock:
                self._messages -= receipt.count
            self.forget([row_id])  # to be read and published again as a whole
            self._session.close()
            raise
        with self._changed:
            self._messages += len(remaining) - receipt.count
        if any(not failure.permanent for failure in receipt.failures):
            self._kafka_trouble(receipt.failures[0].sentence)
            self._stop.wait(0.2)
        self._publish_all(publisher, [(row_id, remaining)])

    def _remove(self, *, force: bool) -> None:
        """Remove acknowledged rows, many at a time."""
        ids = self._removable
        if not ids:
            return
        age = clock.monotonic() - self._removable_since
        if age >= REMOVE_AFTER_SECONDS or len(ids) >= MOST_ROWS_REMOVED or (force and age >= REMOVE_AFTER_SECONDS):
            outbox.remove(self._session, ids)
            with self._lock:
                for row_id in ids:
                    self._known.pop(row_id, None)
            self._removable = []

    def _look_for_lost(self) -> None:
        """A row that has had no outcome beyond every timeout: the producer has lost it, the table has not."""
        with self._lock:
            oldest = min(self._known.values(), default=None) if len(self._known) < 10_000 else None
        if oldest is not None and clock.monotonic() - oldest > STUCK_SECONDS:
            log.error("Messages had no outcome in time, publishing them again", action="relay.stuck")
            FAULTS.labels("dispatcher", "outcome_missing").inc()
            self._start_over(self._epoch)

    def _kafka_trouble(self, sentence: str) -> None:
        # librdkafka changes its words with every attempt: the first is worth a line, /readyz has the latest.
        if self.kafka is None or self.kafka == STARTING:
            log.warning("Kafka does not take messages, waiting for it: %s", sentence, action="kafka.lost")
            FAULTS.labels("dispatcher", "kafka").inc()
        self.kafka = f"Kafka does not take messages: {sentence}"

    def _finish(self) -> None:
        if self._publisher is not None:
            deadline = clock.monotonic() + 0.25
            while self._known and clock.monotonic() < deadline:
                self._publisher.poll(0.01)
                try:
                    self._settle(self._publisher)
                    if len(self._removable) == len(self._known):
                        break
                except (DatabaseUnavailable, StatementRefused):
                    break
            try:
                if self._removable:
                    outbox.remove(self._session, self._removable)
            except (DatabaseUnavailable, StatementRefused) as error:
                log.warning("Acknowledged rows stay for the next leader, who repeats them: %s", error)
            self._publisher.abandon()
        self._session.close()
