"""Reads a topic as a third party would: with plain confluent-kafka, from its beginning, outside any group."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition


@dataclass(frozen=True, slots=True)
class Seen:
    """One message. `at` is Kafka's own timestamp of its append or creation, in seconds."""

    topic: str
    key: str
    headers: dict[str, str]
    data: Any
    at: float


def read_all(bootstrap_servers: str, topics: Iterable[str], within: float = 30.0) -> list[Seen]:
    """Everything that is in these topics now, in Kafka's order within each partition."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap_servers, "group.id": "test-reader", "enable.auto.commit": False}
    )
    try:
        metadata = consumer.list_topics(timeout=10).topics
        wanted = [
            TopicPartition(t, p, OFFSET_BEGINNING) for t in topics if t in metadata for p in metadata[t].partitions
        ]
        ends = {(p.topic, p.partition): consumer.get_watermark_offsets(p, timeout=10) for p in wanted}
        waiting = {partition for partition, (low, high) in ends.items() if high > low}
        if not waiting:
            return []
        consumer.assign(wanted)
        seen: list[Seen] = []
        polls = 0
        while waiting:
            for message in consumer.consume(1000, 1.0):
                assert message.error() is None, message.error()
                topic, partition, offset = message.topic(), message.partition(), message.offset()
                assert topic is not None
                assert partition is not None
                assert offset is not None
                seen.append(_seen(message))
                if offset + 1 >= ends[topic, partition][1]:
                    waiting.discard((topic, partition))
            polls += 1
            assert polls < within, f"{waiting} not read within {within} s"
        return seen
    finally:
        consumer.close()


def _seen(message: Any) -> Seen:
    value = message.value()
    headers = {name: (raw or b"").decode() for name, raw in message.headers() or []}
    cut = "dead_truncated" in headers  # a dead letter's value that is no JSON any more
    return Seen(
        message.topic(),
        (message.key() or b"").decode(),
        headers,
        (value.decode() if cut else json.loads(value)) if value else None,
        message.timestamp()[1] / 1000,
    )
