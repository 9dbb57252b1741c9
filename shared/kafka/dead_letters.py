"""What nobody could read or finish: put aside on `runs.dead` with the reason and the original bytes.

Consumers call `letter` for each such message and send it with their producer. `UnreadableLimit` keeps a consumer from
emptying a whole topic into the dead letters when the fault lies in the consumer (an old version, a wrong setting).
"""

from collections import deque
from dataclasses import dataclass
from datetime import datetime

from shared.events.topics import RUNS_DEAD
from shared.kafka.consumer import Record

REASON, CONSUMER, AT = "dead_reason", "dead_consumer", "dead_at"
TOPIC, PARTITION, OFFSET = "dead_topic", "dead_partition", "dead_offset"
_OURS = frozenset({REASON, CONSUMER, AT, TOPIC, PARTITION, OFFSET})
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
