"""What nobody could read or finish: put aside on `runs.dead` with the reason and the original bytes.

Consumers call `letter` for each such message and send it with their producer. `UnreadableLimit` keeps a consumer from
emptying a whole topic into the dead letters when the fault lies in the consumer (an old version, a wrong setting).
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from confluent_kafka import Consumer, KafkaException, TopicPartition

from shared.events.topics import RUNS_DEAD
from shared.kafka.complaints import QUIET
from shared.kafka.consumer import Record, record_of

REASON, CONSUMER, AT = "dead_reason", "dead_consumer", "dead_at"
TOPIC, PARTITION, OFFSET = "dead_topic", "dead_partition", "dead_offset"
TRUNCATED = "dead_truncated"
"""Only on letters whose value was too large to keep whole: its length."""
_OURS = frozenset({REASON, CONSUMER, AT, TOPIC, PARTITION, OFFSET, TRUNCATED})
REASON_LIMIT = 1_000
"""Characters: a reason is a sentence, not a dump."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message for `runs.dead`: the original key, headers and value, and headers of ours that say whence and why."""

    key: bytes | None
    headers: list[tuple[str, bytes | None]]
    value: bytes | None
    topic: str = RUNS_DEAD.name


def letter(record: Record, reason: str, consumer: str, now: datetime) -> DeadLetter:
    """Put `record` aside. Its own headers stay as they were, byte for byte."""
    ours: list[tuple[str, bytes | None]] = [
        (REASON, reason[:REASON_LIMIT].encode()),
        (CONSUMER, consumer.encode()),
        (AT, now.isoformat().encode()),
        (TOPIC, record.topic.encode()),
        (PARTITION, str(record.partition).encode()),
        (OFFSET, str(record.offset).encode()),
    ]
    return DeadLetter(record.key, [*original_headers(record.headers), *ours], record.value)


def original_headers(headers: list[tuple[str, bytes | None]]) -> list[tuple[str, bytes | None]]:
    """The headers as the message came, without the ones added here."""
    return [(name, value) for name, value in headers if name not in _OURS]


def reason_of(headers: list[tuple[str, bytes | None]]) -> dict[str, str]:
    """The headers added here, readable: dead_reason, dead_consumer, dead_at, dead_topic, …"""
    return {name: (value or b"").decode(errors="replace") for name, value in headers if name in _OURS}


class UnreadableLimit:
    """Notices when nearly everything of a topic fails to decode: then the fault is not the messages'.

    Judged over the last `window` messages once `least` of them were unreadable: more than nine in ten is too many.
    """

    def __init__(self, window: int = 200, least: int = 50) -> None:
        self._recent: deque[bool] = deque(maxlen=window)
        self._bad = 0
        self._least = least

    def note(self, readable: bool) -> bool:
        """Count one message; returns whether it is time to stop."""
        if len(self._recent) == self._recent.maxlen and not self._recent[0]:
            self._bad -= 1
        self._recent.append(readable)
        self._bad += not readable
        return self._bad >= self._least and self._bad * 10 > len(self._recent) * 9


class DeadLettersUnavailable(Exception):
    """Kafka does not answer, or there is no such letter. Temporary."""


class DeadLetterReader:
    """Reads `runs.dead` as it lies there, in no group: looking changes nothing."""

    def __init__(self, bootstrap_servers: str, prefix: str, *, timeout: float = 10.0) -> None:
        self._topic = prefix + RUNS_DEAD.name
        self._timeout = timeout
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                **QUIET,
                "group.id": f"{prefix}dead-letter-reader",  # required by the client, never joined
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "error_cb": lambda _error: None,  # the calls below say what is wrong
            }
        )

    def letters(self, limit: int) -> Iterator[Record]:
        """The newest letters, up to `limit` of each partition, oldest first."""
        ends: dict[int, int] = {}
        starts = []
        for partition in self._partitions():
            low, high = self._bounds(partition)
            if high > low:
                ends[partition] = high
                starts.append(TopicPartition(self._topic, partition, max(low, high - limit)))
        self._consumer.assign(starts)
        while ends:
            messages = self._consumer.consume(500, self._timeout)
            if not messages:
                raise DeadLettersUnavailable("Kafka stopped answering")
            for message in messages:
                if message.error() is None:
                    record = record_of(message, RUNS_DEAD.name)
                    yield record
                    if record.offset + 1 >= ends.get(record.partition, 0):
                        ends.pop(record.partition, None)

    def letter(self, partition: int, offset: int) -> Record:
        """One letter by its place. Raises DeadLettersUnavailable."""
        low, high = self._bounds(partition) if partition in self._partitions() else (0, 0)
        if not low <= offset < high:
            raise DeadLettersUnavailable(f"there is no letter {partition}:{offset}")
        self._consumer.assign([TopicPartition(self._topic, partition, offset)])
        for message in self._consumer.consume(1, self._timeout):
            if message.error() is None:
                return record_of(message, RUNS_DEAD.name)
        raise DeadLettersUnavailable("Kafka does not answer")

    def close(self) -> None:
        """End."""
        self._consumer.close()

    def _partitions(self) -> list[int]:
        try:
            topic = self._consumer.list_topics(self._topic, timeout=self._timeout).topics.get(self._topic)
        except KafkaException as error:
            raise DeadLettersUnavailable("Kafka does not answer") from error
        return sorted(topic.partitions) if topic is not None else []

    def _bounds(self, partition: int) -> tuple[int, int]:
        try:
            found = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), self._timeout)
        except KafkaException as error:
            raise DeadLettersUnavailable("Kafka does not answer") from error
        return found
