"""What the cases read: run.due events as they arrive (an upper bound of the acknowledgement), a service's metrics."""

from __future__ import annotations

import threading
import time
import urllib.request

import orjson
from confluent_kafka import Consumer, TopicPartition

from benchmarks.servers import BenchServers


class Arrivals:
    """A reader of a task type's topic on a thread of its own, from now on. `seen`: (schedule id, due, arrived)."""

    def __init__(self, servers: BenchServers, task_type: str) -> None:
        self.seen: list[tuple[int, float, float]] = []
        self._stop = threading.Event()
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers.kafka_bootstrap_servers,
                "group.id": "bench-reader",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 100,
            }
        )
        topic = f"{servers.topic_prefix}runs.due.{task_type}"
        partitions = self._consumer.list_topics(topic, timeout=10).topics[topic].partitions
        ends = [
            TopicPartition(topic, p, self._consumer.get_watermark_offsets(TopicPartition(topic, p))[1])
            for p in partitions
        ]
        self._consumer.assign(ends)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._stop.is_set():
            first = self._consumer.poll(0.1)  # returns at once when there is one; `consume` would wait for more
            if first is None:
                continue
            arrived = time.time()
            for message in (first, *self._consumer.consume(1000, 0)):
                value = message.value()
                if message.error() is None and value is not None:
                    self.seen.append((int(message.key() or 0), _due(value), arrived))

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join()
        self._consumer.close()


def _due(value: str | bytes) -> float:
    from datetime import datetime

    return datetime.fromisoformat(orjson.loads(value)["scheduled_for"]).timestamp()


def metrics_page(url: str) -> str:
    """What a service tells Prometheus."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        page: bytes = answer.read()
    return page.decode()


def percentile(values: list[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
