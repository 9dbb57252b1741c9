"""Messages whose topic cannot be made for now: they wait here, so that nothing else waits for them.

Used by the relay's thread alone. While Kafka is away no topic can be made, and nobody asks for one again and again; a
single topic that the broker does not make (no permission, too few brokers) is asked for once a second, by itself. What
waits for a topic goes out in its order, before anything newer for that topic.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from shared import clock
from shared.kafka.publisher import Outgoing, Receipt
from shared.kafka.topics import TopicNotMade, TopicRefused, TopicsUnavailable
from shared.telemetry.logging import get_logger
from shared.telemetry.metrics import FAULTS

log = get_logger(__name__)

AGAIN_SECONDS = 1.0
GIVE_UP_SECONDS = 600.0
"""A topic that the broker, being there, has not made for so long counts as refused: what waits for it would fill the
backlog, and stop everybody.
"""
OF_LATE_SECONDS = 60.0


class Row(NamedTuple):
    """A row of the outbox on its way, or what is left of it."""

    id: int
    messages: Sequence[Outgoing]
    due_at: Sequence[datetime] = ()
    receipt: Receipt | None = None
    """Of the whole row, where the rest of it is on its way already."""


class Parked:
    """The rows, and until when which topic is not asked for."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._again = 0.0
        self._not_before: dict[str, tuple[float, TopicsUnavailable]] = {}
        self._failing: dict[str, tuple[float, float]] = {}
        """When a topic was first, and last, not made, of late."""
        self._away: tuple[float, TopicsUnavailable] | None = None
        self._told: dict[str, str] = {}
        self.topics: set[str] = set()
        """Those that something waits for here."""
        self.messages = 0

    def ask(self, topic: str, make: Callable[[], None]) -> None:
        """Make a topic, unless that failed a moment ago.

        Raises TopicsUnavailable; TopicRefused for one that was not made for GIVE_UP_SECONDS; and what `make` raises.
        """
        now = clock.monotonic()
        for until in (self._away, self._not_before.get(topic)):
            if until is not None and now < until[0]:
                raise until[1]
        try:
            make()
        except TopicNotMade as error:
            ended = clock.monotonic()
            self._not_before[topic] = ended + AGAIN_SECONDS, error
            first, last = self._failing.get(topic, (ended, ended))
            if ended - last > OF_LATE_SECONDS:  # nobody wanted it for a while, or Kafka was away: it begins anew
                first = ended
                self._told.pop(topic, None)
            self._failing[topic] = first, ended
            self._tell(topic, str(error))
            if ended - first > GIVE_UP_SECONDS:
                raise TopicRefused(f"it could not be made for {GIVE_UP_SECONDS:g} s: {error}") from error
            raise
        except TopicsUnavailable as error:
            self._away = clock.monotonic() + AGAIN_SECONDS, error
            raise
        self._not_before.pop(topic, None)
        self._failing.pop(topic, None)
        if self._told.pop(topic, None) is not None:
            log.info("Topic %s is there now", topic, action="topic.made", topic=topic)

    def add(self, row: Row) -> None:
        """This one waits."""
        self._rows.append(row)
        self.topics.update(message.topic for message in row.messages)
        self.messages += len(row.messages)

    def due(self) -> list[Row]:
        """All of them, once a second: what cannot go comes back by `add`, in the same order."""
        now = clock.monotonic()
        if not self._rows or now < self._again:
            return []
        self._again = now + AGAIN_SECONDS
        rows = self._rows
        self.clear()
        return rows

    def clear(self) -> None:
        """Nothing waits here any more; the table has it all."""
        self._rows, self.topics, self.messages = [], set(), 0

    def describe(self) -> str:
        """One sentence for /readyz."""
        waited_for = self.topics
        return "; ".join(said for topic, said in tuple(self._told.items()) if topic in waited_for) or "all there"

    def _tell(self, topic: str, sentence: str) -> None:
        if topic not in self._told:
            log.warning(
                "Topic %s cannot be made, its messages wait: %s", topic, sentence, action="topic.lacking", topic=topic
            )
            FAULTS.labels("dispatcher", "topic_not_made").inc()
        self._told[topic] = f"{topic} cannot be made: {sentence}"
