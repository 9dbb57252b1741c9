"""Due runs in Kafka, for the worker's cases."""

from __future__ import annotations

from datetime import UTC, datetime

from confluent_kafka import Producer

from benchmarks.servers import BenchServers
from shared.events.due import DueRun, RunPolicy, due_message
from shared.events.topics import FIXED, runs_due
from shared.kafka.topics import ensure_topics

PARTITIONS = 6
_POLICY = RunPolicy(3, 30.0, 3600.0, 60, None)


class DueRuns:
    """A producer of due runs of 1,000 schedules."""

    def __init__(self, servers: BenchServers, *task_types: str) -> None:
        topics = [*FIXED, *(runs_due(name) for name in task_types)]
        ensure_topics(
            servers.kafka_bootstrap_servers, servers.topic_prefix, topics, partitions=PARTITIONS, replication=1
        )
        self._prefix = servers.topic_prefix
        self._producer = Producer({"bootstrap.servers": servers.kafka_bootstrap_servers, "linger.ms": 20})
        self._last = 0

    def publish(self, task_type: str, number: int) -> None:
        """So many more, each of a job of its own."""
        now = datetime.now(UTC)
        for job_id in range(self._last + 1, self._last + number + 1):
            due = DueRun(job_id, 1, job_id % 1_000, 1, task_type, now, 1, "bench", "schedule", "{}", "{}", _POLICY, now)
            message = due_message(due, now)
            while True:
                try:
                    self._producer.produce(
                        self._prefix + message.topic,
                        message.value,
                        message.key,
                        headers=list(message.headers.items()),
                    )
                    break
                except BufferError:
                    self._producer.poll(0.1)
        self._last += number
        self._producer.poll(0)

    def flush(self) -> None:
        """Until Kafka has them all."""
        self._producer.flush()
