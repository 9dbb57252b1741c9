"""The producer: events out, each acknowledged to its sender.

The worker and the dispatcher's relay send with it. Delivery callbacks run inside `poll` and `flush`, on the caller's
thread. Idempotent and in order per partition; still, only a message's own acknowledgement counts (librdkafka #4134).
"""

import zlib
from collections.abc import Callable, Sequence
from logging import getLogger

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Message as KafkaMessage
from confluent_kafka import Producer as KafkaProducer

from shared.events.envelope import Message
from shared.kafka.complaints import QUIET, Complaints

log = getLogger(__name__)

Delivered = Callable[[str | None], None]
"""Called once a message: with None when every in-sync replica has it, else with the reason."""
Headers = Sequence[tuple[str, str | bytes | None]]


def partition_of(key: str, partitions: int) -> int:
    """Where the producer puts a key (librdkafka's `consistent_random`), in a topic of so many partitions."""
    return zlib.crc32(key.encode()) % partitions


class QueueFull(Exception):
    """Too much is unacknowledged. Temporary: poll, and send again."""


class Producer:
    """One producer of a process. `send…` may be called from any thread."""

    def __init__(
        self, bootstrap_servers: str, prefix: str, client_id: str, *, delivery_timeout_ms: int = 30_000
    ) -> None:
        self._prefix = prefix
        self.fatal: str | None = None
        self._complaints = Complaints(log, "producer")
        self._producer = KafkaProducer(
            {
                "bootstrap.servers": bootstrap_servers,
                **QUIET,
                "client.id": client_id,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 2,
                "compression.type": "lz4",
                "delivery.timeout.ms": delivery_timeout_ms,
                "queue.buffering.max.messages": 200_000,
                "message.max.bytes": 8_000_000,
                "reconnect.backoff.max.ms": 1_000,
                "retry.backoff.max.ms": 500,
                "allow.auto.create.topics": False,
                "error_cb": self._on_error,
            }
        )

    def send(self, message: Message, delivered: Delivered | None = None) -> None:
        """Queue an event. Raises QueueFull."""
        value = None if message.value is None else message.value.encode()
        self.send_bytes(message.topic, message.key.encode(), list(message.headers.items()), value, delivered)

    def send_bytes(
        self,
        topic: str,
        key: bytes | None,
        headers: Headers,
        value: bytes | None,
        delivered: Delivered | None = None,
    ) -> None:
        """Queue a message as it is; `topic` without prefix. Raises QueueFull."""
        on_delivery = None if delivered is None else _reporter(delivered)
        try:
            self._producer.produce(
                self._prefix + topic,
                value,
                key,
                headers=list(headers),
                on_delivery=on_delivery,
            )
        except BufferError as error:
            raise QueueFull(str(error)) from error

    def poll(self, seconds: float) -> int:
        """Run the callbacks of what was acknowledged meanwhile; returns how many there were."""
        return self._producer.poll(seconds)

    def flush(self, seconds: float) -> int:
        """Wait for everything to be acknowledged; returns how many are not yet."""
        return self._producer.flush(seconds)

    def answers(self, seconds: float) -> bool:
        """Whether a broker answers within so long."""
        try:
            self._producer.list_topics(timeout=seconds)
        except KafkaException:
            return False
        return True

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self.fatal = f"Kafka's producer has given up: {error.str()}"
            log.error("%s", self.fatal)
        else:
            self._complaints.say(error.str())


def _reporter(delivered: Delivered) -> Callable[[KafkaError | None, KafkaMessage], None]:
    return lambda error, _message: delivered(None if error is None else error.str())
