"""PostgreSQL and Kafka die under a worker in the middle of runs: it waits, says so, and nothing is lost or twice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from deploy.local.kafka import KafkaServer
from deploy.local.ports import free_ports
from deploy.local.postgres import PostgresServer
from deploy.local.settings import read_settings
from shared.events.types import RunStarted, RunSucceeded
from tests.integration.worker.bench_of_runs import Runs, WorkerProcess, runs_on
from tests.servers import migrate
from tests.waiting import eventually

pytestmark = pytest.mark.slow


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL that this test may kill."""
    with PostgresServer(tmp_path / "postgres", free_ports(1)[0], shared_buffers="64MB") as server:
        migrate(server.database_url, server.owner_url)
        yield server


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[KafkaServer]:
    """A Kafka that this test may kill."""
    cache = read_settings(os.environ).cache
    with KafkaServer(tmp_path / "kafka", free_ports(2)[0], cache=cache, heap="384m") as server:
        yield server


@pytest.fixture
def own(postgres: PostgresServer, kafka: KafkaServer, tmp_path: Path) -> Iterator[Runs]:
    """Runs on those servers."""
    with runs_on(kafka.bootstrap_servers, "fault.", postgres.database_url, tmp_path) as made:
        yield made


def _says(worker: WorkerProcess, words: str) -> bool:
    status, body = worker.get("/readyz")
    return status == 503 and words in orjson.dumps(body).decode()


def test_ends_that_kafka_cannot_take_are_kept_until_it_can(own: Runs, kafka: KafkaServer, tmp_path: Path) -> None:
    mark = tmp_path / "started"
    worker = own.worker()
    jobs = [own.due("wait", {"seconds": 1, "mark": str(mark)}, schedule_id=number) for number in range(20)]
    eventually(lambda: mark.exists() and len(mark.read_text().splitlines()) == 20)
    kafka.kill()
    eventually(lambda: _says(worker, "Kafka does not answer"), 10)
    assert worker.get("/livez")[0] == 200
    kafka.start()
    for job in jobs:
        assert isinstance(own.ended(job, 30), RunSucceeded)
    assert len(mark.read_text().splitlines()) == 20
    assert isinstance(own.ended(own.due("wait"), 30), RunSucceeded)
    eventually(lambda: own.committed("wait") == 21, 20)
    eventually(lambda: worker.get("/readyz")[0] == 200, 10)
    assert worker.text().count("Kafka reports a problem") < 20, "said once, not at every attempt"
    assert not [line for line in worker.text().splitlines() if line.startswith("%")], "librdkafka's own, of no form"


def test_without_postgresql_nothing_is_started_and_nothing_lost(
    own: Runs, postgres: PostgresServer, tmp_path: Path
) -> None:
    mark = tmp_path / "started"
    worker = own.worker()
    running = [own.due("wait", {"seconds": 3, "mark": str(mark)}, schedule_id=number) for number in range(5)]
    eventually(lambda: mark.exists() and len(mark.read_text().splitlines()) == 5)
    postgres.kill()
    waiting = [own.due("wait", {"mark": str(mark)}, schedule_id=number) for number in range(5)]
    eventually(lambda: _says(worker, "PostgreSQL does not answer"), 15)
    for job in running:
        assert isinstance(own.ended(job, 10), RunSucceeded), "results go to Kafka all the same"
    assert not any(own.of(job, RunStarted) for job in waiting)
    postgres.start()
    for job in waiting:
        assert isinstance(own.ended(job, 30), RunSucceeded)
    eventually(lambda: all(claim["ended_at"] for claim in own.claims().values()), 15, "ends are noted afterwards")
    eventually(lambda: own.committed("wait") == 10, 15)
    assert len(mark.read_text().splitlines()) == 10
