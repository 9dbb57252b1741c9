"""The relay's producer: many messages quickly, each accounted for by its own acknowledgement.

Used by the dispatcher's relay alone. A Receipt counts the acknowledgements of one outbox row; librdkafka may drop
messages despite idempotence when a broker freezes (its issue 4134), so only a message's own success counts.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from logging import getLogger
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from shared.events.topics import SCHEDULES
from shared.kafka.complaints import QUIET

log = getLogger(__name__)

PERMANENT = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.POLICY_VIOLATION,
        KafkaError._INVALID_ARG,
    }
)
"""Errors that sending the same message again meets again."""
BY_BATCH = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_RECORD})
"""Those among them that the broker states for a whole record batch."""


class Outgoing(NamedTuple):
    """A message, its topic without prefix; `value` None is a tombstone. Bytes where it is no text of ours."""

    topic: str
    key: str | bytes | None
    headers: list[tuple[str, str | bytes | None]]
    value: str | bytes | None


class Failure(NamedTuple):
    """A message that was not delivered; key and value as `as_text` gives them."""

    topic: str
    key: str
    value: str | None
    sentence: str
    permanent: bool
    alone: bool = False
    """Whether the message may only have shared the fault of its record batch: send it once more by itself."""


class Receipt:
    """Counts the outcomes of `count` messages; calls `settled` with itself after the last. `failures` may be empty."""

    __slots__ = ("_settled", "context", "count", "due_at", "failures", "left")

    def __init__(self, context: tuple[int | None, int], count: int, settled: Callable[["Receipt"], None]) -> None:
        self.context = context
        self.count = count
        self.left = count
        self.failures: list[Failure] = []
        self.due_at: Sequence[datetime] = ()
        """When some of them were due, for the delay's metric."""
        self._settled = settled

    def report(self, error: KafkaError | None, message: Message | None) -> None:
        """librdkafka's delivery callback."""
        if error is not None:
            self.failures.append(_failure(error, message))
        self.left -= 1
        if not self.left:
            self._settled(self)

    def refuse(self, failure: Failure) -> None:
        """A message that was not even accepted."""
        self.failures.append(failure)
        self.left -= 1
        if not self.left:
            self._settled(self)


class Publisher:
    """One librdkafka producer. Not for use by several threads at once. Delivery callbacks run inside `poll`."""

    def __init__(
        self, bootstrap_servers: str, prefix: str, client_id: str, *, delivery_timeout_ms: int = 300_000
    ) -> None:
        self._prefix = prefix
        self.fatal: str | None = None
        """Set once the producer can do nothing more: make a new one."""
        self.trouble: str | None = None
        """librdkafka's last complaint; cleared by whoever has seen a success."""
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                **QUIET,
                "client.id": client_id,
                "enable.idempotence": True,
                "acks": "all",
                # A lone message goes at once. A herd's batches fill all the same: while five requests are under way.
                "linger.ms": 0,
                # A record batch stays below the broker's limit of 1 MiB; a message above it travels, and fails, alone.
                "batch.size": 900_000,
                "message.max.bytes": 4_000_000,
                "delivery.timeout.ms": delivery_timeout_ms,
                "queue.buffering.max.messages": 500_000,
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 1_000,
                "retry.backoff.max.ms": 500,
                "socket.timeout.ms": 10_000,
                "allow.auto.create.topics": False,
                "error_cb": self._on_error,
            }
        )

    def publish(self, messages: Sequence[Outgoing], receipt: Receipt) -> None:
        """Queue messages in order. Waits (polling) while librdkafka's queue is full."""
        produce, prefix, report = self._producer.produce, self._prefix, receipt.report
        for topic, key, headers, value in messages:
            while True:
                try:
                    produce(prefix + topic, value, key, headers=headers, on_delivery=report)
                except BufferError:
                    self._producer.poll(0.05)
                    if self.fatal:
                        receipt.refuse(Failure(topic, as_text(key) or "", as_text(value), self.fatal, permanent=False))
                        break
                    continue
                except KafkaException as error:
                    cause = error.args[0]
                    permanent = cause.code() in PERMANENT
                    receipt.refuse(Failure(topic, as_text(key) or "", as_text(value), cause.str(), permanent=permanent))
                break

    def publish_alone(self, message: Outgoing, seconds: float) -> Failure | None:
        """Send one message apart from all others and wait for its outcome; None when it was delivered."""
        outcome: list[Receipt] = []
        receipt = Receipt((None, 0), 1, outcome.append)
        self._producer.flush(seconds)
        self.publish([message], receipt)
        self._producer.flush(seconds)
        if not outcome:
            key, value = as_text(message.key) or "", as_text(message.value)
            return Failure(message.topic, key, value, "no outcome in time", permanent=False)
        return receipt.failures[0] if receipt.failures else None

    def poll(self, seconds: float) -> int:
        """Run the callbacks of what was acknowledged meanwhile; returns how many events there were."""
        return self._producer.poll(seconds)

    def answers(self, seconds: float) -> bool:
        """Whether a broker answers within so long, asked about one topic: for a relay that has nothing to publish."""
        try:
            self._producer.list_topics(self._prefix + SCHEDULES.name, timeout=seconds)
        except KafkaException:
            return False
        return True

    def abandon(self) -> None:
        """Forget everything that is queued or under way, without further callbacks of interest."""
        self._producer.purge()
        self._producer.poll(0)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL:
            self.fatal = error.str()
        else:
            self.trouble = error.str()


def as_text(raw: str | bytes | None) -> str | None:
    """Any bytes as text, without loss: so that a failure is found again among the messages of its row."""
    return raw.decode(errors="surrogateescape") if isinstance(raw, bytes) else raw


def _failure(error: KafkaError, message: Message | None) -> Failure:
    topic = message.topic() if message is not None else None
    key = as_text(message.key()) if message is not None else None
    value = as_text(message.value()) if message is not None else None
    code = error.code()
    return Failure(topic or "", key or "", value, error.str(), permanent=code in PERMANENT, alone=code in BY_BATCH)
