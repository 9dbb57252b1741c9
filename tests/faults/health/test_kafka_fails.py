"""Kafka killed, frozen and gone for a minute under health: it says so, and every result is recorded once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from deploy.local.kafka import KafkaServer
from deploy.local.ports import free_ports
from deploy.local.settings import read_settings
from shared.events.topics import FIXED
from shared.kafka.topics import ensure_topics
from tests.faults.health.test_results_survive import Replica, ended, pause, send
from tests.integration.health.support import Rows, event
from tests.waiting import eventually

pytestmark = pytest.mark.slow
PREFIX = "fault."


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[KafkaServer]:
    """A Kafka that this test may kill."""
    cache = read_settings(os.environ).cache
    with KafkaServer(tmp_path / "kafka", free_ports(2)[0], cache=cache, heap="384m") as server:
        yield server


@pytest.fixture
def replica(database_url: str, kafka: KafkaServer, tmp_path: Path) -> Iterator[Replica]:
    ensure_topics(kafka.bootstrap_servers, PREFIX, FIXED, partitions=4, replication=1)
    environment = {
        **os.environ,
        "COMMANDCENTER_DATABASE_URL": database_url,
        "COMMANDCENTER_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "COMMANDCENTER_TOPIC_PREFIX": PREFIX,
        "COMMANDCENTER_HOME": str(tmp_path),
    }
    started = Replica(environment, tmp_path / "health.log", "h1")
    yield started
    started.end()


def readyz(replica: Replica) -> tuple[int, str]:
    try:
        answer = httpx2.get(f"http://127.0.0.1:{replica.port}/readyz", timeout=2)
    except httpx2.HTTPError:
        return 0, ""
    return answer.status_code, answer.text


def test_kafka_is_killed_gone_for_a_minute_and_frozen(rows: Rows, replica: Replica, kafka: KafkaServer) -> None:
    total = 0

    def ready() -> bool:
        replica.supervise()
        return readyz(replica)[0] == 200

    def goes_on() -> None:
        nonlocal total
        rows("DELETE FROM jobs")  # the same occurrences anew
        jobs = rows.jobs(300, schedules=20)
        total += len(jobs)
        send(kafka.bootstrap_servers, PREFIX, [event("succeeded", job) for job in jobs])

        def all_recorded() -> bool:
            replica.supervise()
            return ended(rows) == len(jobs)

        eventually(all_recorded, 60, "every result on record")
        eventually(ready, 30, "it is ready")

    goes_on()
    for seconds in (3, 60):
        kafka.kill()
        eventually(lambda: "Kafka does not answer" in readyz(replica)[1], 20, "it says so")
        pause(seconds)
        kafka.start()
        goes_on()
    for seconds in (8, 45):
        kafka.pause()
        pause(seconds)
        kafka.resume()
        goes_on()
    assert rows.counts()["audit"] == {"run.succeeded": total}
    assert sum(ends[0] for ends in rows.counts()["statistics"].values()) == total
