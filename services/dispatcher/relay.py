"""The relay: publishes what transactions have put into the outbox. A row leaves the table only when every message of it
is acknowledged by Kafka (receipts.py).

The tick hands its rows over from memory after its commit; everyone else's (api, rescue) and everything left by an
earlier leader is read from the table, oldest first. Rows in hand (in_hand.py) are not read again. Of one schedule,
events go out in the order of their rows: writers hold its timer's lock when they draw the row's id. One thread owns the
producer.
"""

import threading
from collections.abc import Callable, Sequence

from services.dispatcher.in_hand import InHand
from services.dispatcher.kafka_watch import KafkaWatch
from services.dispatcher.leadership import Leadership
from services.dispatcher.parked import Parked, Row
from services.dispatcher.receipts import REMOVE_AFTER_SECONDS, Receipts
from services.dispatcher.refused import read_row
from shared import clock
from shared.events.topics import FIXED, Topic, runs_due
from shared.kafka.publisher import Failure, Outgoing, Publisher, as_text
from shared.kafka.topics import TopicNotMade, TopicRefused, TopicsUnavailable
from shared.process import Process
from shared.storage import relay as outbox
from shared.storage.database import DatabaseUnavailable
from shared.storage.session import Session, StatementRefused
from shared.telemetry.logging import get_logger
from shared.telemetry.metrics import FAULTS, OUTBOX_AGE, OUTBOX_DEPTH

log = get_logger(__name__)

ROWS_A_READ = 200
"""Rows from the table published at a time."""
PAUSE_SECONDS = 0.2
"""Before messages that Kafka did not take are published again."""
LAST_ACKNOWLEDGEMENTS_SECONDS = 0.25
"""A stop waits so long for what is under way."""
_FIXED = {topic.name: topic for topic in FIXED}


class Relay:
    """One thread. What it publishes comes from `in_hand` and from the table."""

    def __init__(
        self,
        session: Session,
        leadership: Leadership,
        process: Process,
        in_hand: InHand,
        *,
        make_publisher: Callable[[], Publisher],
        ensure: Callable[[Sequence[Topic]], None],
        poll_seconds: float,
    ) -> None:
        self._session = session
        self._leadership = leadership
        self._process = process
        self._in_hand = in_hand
        self._make_publisher = make_publisher
        self._ensure = ensure
        self._poll_seconds = poll_seconds
        self._publisher: Publisher | None = None
        self._topics: set[str] = set()
        self._parked = Parked()
        self._epoch: int | None = None
        self._last_read = self._measured = 0.0
        self._stored = 0
        self._stop = threading.Event()
        self.kafka = KafkaWatch()
        self._receipts = Receipts(
            session, in_hand, self.kafka, publish_again=self._publish_again, before_again=self._before_again
        )
        self.describe_topics = self._parked.describe
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def start(self) -> None:
        """Begin; the thread waits for leadership."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Publish no more, wait this long for what is under way, and end. The rest is the next leader's."""
        self._stop.set()
        self._in_hand.wake()
        self._thread.join(seconds + 5)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._process.beat("relay", 120)
            epoch = self._leadership.wait(0.5)
            try:
                if epoch != self._epoch:
                    self._epoch = epoch
                    self._start_over()
                if epoch is not None:
                    self._turn(self._publisher or self._connect())
            except DatabaseUnavailable as error:
                log.warning("The outbox cannot be read or emptied, trying again: %s", error, action="relay.waiting")
                FAULTS.labels("dispatcher", "relay_database").inc()
                self._stop.wait(0.2)
            except (TopicsUnavailable, TopicRefused) as error:  # of the fixed topics: nothing goes without them
                self.kafka.trouble(str(error))
                self._stop.wait(0.5)
        self._finish()

    def _start_over(self) -> None:
        """Leadership changed, or the producer is of no use any more: forget what is in hand, the table has it all."""
        if self._publisher is not None:
            self._publisher.abandon()
            self._publisher = None
        self._in_hand.clear()
        self._receipts.clear()
        self._parked.clear()
        if self._epoch is not None:  # what an earlier leader left counts before the first claim
            self._measured = 0.0
            self._in_hand.note_stored(self._measure(True), more=True)
        else:  # the next leader tells: the last figures of one that led once would alarm for ever
            OUTBOX_DEPTH.set(0)
            OUTBOX_AGE.set(0)

    def _connect(self) -> Publisher:
        if not self._topics:
            try:
                self._ensure(FIXED)
            except (TopicsUnavailable, TopicRefused):
                # What waits in the table counts, although it cannot be published yet.
                self._in_hand.note_stored(self._measure(True), more=True)
                raise
            self._topics.update(topic.name for topic in FIXED)
            self.kafka.answered()  # with an empty outbox nothing else would tell
        publisher = self._publisher = self._make_publisher()
        return publisher

    def _turn(self, publisher: Publisher) -> None:
        waiting = self._parked.due()
        self._in_hand.renew([row.id for row in waiting])
        self._publish_all(publisher, waiting)
        while (handed := self._in_hand.next_handed()) is not None:
            row_id, stored = handed
            self._publish_all(publisher, [Row(row_id, stored.messages, stored.due_at)])
        if self._in_hand.table_changed or clock.monotonic() - self._last_read >= self._poll_seconds:
            self._read(publisher)
        under_way = self._in_hand.messages - self._parked.messages
        publisher.poll(self._patience() if under_way else 0)
        self._receipts.settle(publisher)
        self._receipts.remove()
        if publisher.fatal:
            log.error(
                "Kafka's producer has given up and is made anew: %s", publisher.fatal, action="relay.producer_lost"
            )
            FAULTS.labels("dispatcher", "producer_fatal").inc()
            self._start_over()
            return
        if publisher.trouble:
            self.kafka.trouble(publisher.trouble)
            publisher.trouble = None
        else:
            self.kafka.look(publisher, self._in_hand.messages - self._parked.messages)
        if self._receipts.any_lost():
            self._start_over()
        elif not under_way and self._in_hand.is_full():
            self._stop.wait(PAUSE_SECONDS)  # all of it waits for topics
        elif not under_way:
            wait = self._poll_seconds - (clock.monotonic() - self._last_read)
            if self._receipts.removable:
                wait = min(wait, REMOVE_AFTER_SECONDS)
            self._in_hand.wait(max(wait, 0.0))

    def _patience(self) -> float:
        """Seconds to wait for an acknowledgement before looking for more to publish."""
        return 0.001 if self.kafka.sentence is None else 0.02

    def _publish_all(self, publisher: Publisher, rows: Sequence[Row]) -> None:
        """Publish rows in order."""
        for row in rows:
            self._publish(publisher, row)

    def _publish(self, publisher: Publisher, row: Row) -> None:
        """Publish what has its topic, park what has not yet, and settle what cannot have one."""
        messages = row.messages
        unknown = {message.topic for message in messages} - self._topics
        waiting, refused = self._find(unknown | self._parked.topics)
        receipt = row.receipt or self._receipts.open(row.id, len(messages), row.due_at)
        if waiting:
            rest = [message for message in messages if message.topic in waiting]
            if rest:
                self._parked.add(Row(row.id, rest, receipt=receipt))
                messages = [message for message in messages if message.topic not in waiting]
        if refused:
            for message in messages:
                if message.topic in refused:
                    why = refused[message.topic]
                    key, value = as_text(message.key) or "", as_text(message.value)
                    receipt.refuse(Failure(message.topic, key, value, why, permanent=True))
            messages = [message for message in messages if message.topic not in refused]
        publisher.publish(messages, receipt)

    def _find(self, topics: set[str]) -> tuple[set[str], dict[str, str]]:
        """Of topics that are not known to be there, those to be waited for, and why which cannot exist."""
        waiting, refused = set(), {}
        for topic in topics:
            if topic in self._parked.topics:  # older messages wait for it: newer ones do not overtake them
                waiting.add(topic)
                continue
            try:
                why = self._create(topic)
            except TopicsUnavailable as error:
                waiting.add(topic)
                if not isinstance(error, TopicNotMade):
                    self.kafka.trouble(str(error))
            else:
                if why is not None:
                    refused[topic] = why
        return waiting, refused

    def _before_again(self) -> None:
        """Kafka did not take something."""
        self._topics.clear()  # should one be gone, it is made again
        self._stop.wait(PAUSE_SECONDS)

    def _publish_again(self, row_id: int, messages: Sequence[Outgoing]) -> None:
        """What Kafka did not take of a row."""
        if self._publisher is not None:
            self._publish_all(self._publisher, [Row(row_id, messages)])

    def _create(self, name: str) -> str | None:
        """Make the topic of a task type, before its first message; returns why it cannot exist, or None."""
        try:
            topic = _FIXED.get(name) or runs_due(name.removeprefix("runs.due."))
            self._parked.ask(name, lambda: self._ensure([topic]))
        except (ValueError, TopicRefused) as error:
            return f"topic {name} cannot exist: {error}"
        self._topics.add(name)
        return None

    def _read(self, publisher: Publisher) -> None:
        """Publish rows of the table that are not in hand, unless too much is already."""
        if self._in_hand.is_full():
            return
        known = self._in_hand.begin_reading()
        self._last_read = clock.monotonic()
        rows = outbox.read(self._session, known, limit=ROWS_A_READ)
        stored = self._measure(bool(rows or known))
        read = [(row.id, read_row(row.messages)) for row in rows]
        sizes = {row.id: len(row.messages) for row in rows}
        taken = [Row(row_id, them) for row_id, them in read if self._in_hand.take(row_id, len(them), sizes[row_id])]
        self._in_hand.note_stored(stored, more=len(rows) == ROWS_A_READ)
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

    def _finish(self) -> None:
        publisher = self._publisher
        if publisher is not None:
            deadline = clock.monotonic() + LAST_ACKNOWLEDGEMENTS_SECONDS
            try:
                while self._in_hand.rows() > self._receipts.removable and clock.monotonic() < deadline:
                    publisher.poll(0.01)
                    self._receipts.settle(publisher)
                self._receipts.remove(at_once=True)
            except (DatabaseUnavailable, StatementRefused) as error:
                log.warning("Acknowledged rows stay for the next leader, who repeats them: %s", error)
            publisher.abandon()
        self._session.close()
