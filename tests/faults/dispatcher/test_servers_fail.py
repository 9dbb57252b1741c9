"""PostgreSQL and Kafka killed, frozen and gone for a minute: nothing is lost, nothing twice, and it says so."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from deploy.local.kafka import KafkaServer
from deploy.local.ports import free_ports
from deploy.local.postgres import PostgresServer
from deploy.local.settings import read_settings
from tests.dispatching import Dispatchers, Ledger, published_once
from tests.dispatching import dispatchers as open_dispatchers
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
def own(postgres: PostgresServer, kafka: KafkaServer, tmp_path: Path) -> Iterator[Dispatchers]:
    """Dispatchers on those servers."""
    with open_dispatchers(postgres.database_url, kafka.bootstrap_servers, "fault.", tmp_path) as made:
        yield made


def _every_second(ledger: Ledger, count: int) -> list[int]:
    return [
        ledger.schedule(
            frequency="interval",
            interval_seconds=1,
            overlap_policy="allow",
            catchup_policy="all",
            due="date_trunc('second', now()) + '1 s'",
        )
        for _ in range(count)
    ]


def _check(ledger: Ledger, own: Dispatchers, schedules: list[int]) -> None:
    """Every second once, every job published, nothing left."""
    ledger.run("UPDATE schedule_timers SET next_run_at = NULL")
    assert ledger.deadlocks() == 0
    eventually(ledger.outbox_empty, 60, "the outbox is emptied")
    published = published_once(own.events("runs.due.health_check"))
    for schedule in schedules:
        jobs = ledger.jobs(schedule)
        instants = [datetime.fromisoformat(job["scheduled_for"]) for job in jobs]
        assert instants == [instants[0] + timedelta(seconds=number) for number in range(len(instants))]
        assert {job["id"] for job in jobs} <= set(published)
    assert len(published) == ledger.one("SELECT count(*) FROM jobs")


def test_postgres_is_killed_and_restarted_again_and_again(postgres: PostgresServer, own: Dispatchers) -> None:
    ledger = Ledger(postgres.database_url)
    schedules = _every_second(ledger, 20)
    first, second = own.start("one"), own.start("two")
    eventually(lambda: all(len(ledger.jobs(one)) >= 2 for one in schedules), 30)
    for _ in range(3):
        count = len(ledger.jobs(schedules[0]))
        ledger.close()
        postgres.kill()
        eventually(lambda: first.get("/readyz")[0] == 503 and second.get("/readyz")[0] == 503, 15)
        postgres.start()
        ledger = Ledger(postgres.database_url)
        eventually(lambda least=count + 3, now=ledger: len(now.jobs(schedules[0])) >= least, 30)  # type: ignore[misc]
    assert "PostgreSQL does not answer, waiting for it" in first.log + second.log
    _check(ledger, own, schedules)
    ledger.close()


def test_kafka_is_killed_frozen_and_gone_for_a_minute(
    postgres: PostgresServer, kafka: KafkaServer, own: Dispatchers
) -> None:
    ledger = Ledger(postgres.database_url)
    schedules = _every_second(ledger, 20)
    dispatcher = own.start("one")
    eventually(lambda: all(len(ledger.jobs(one)) >= 2 for one in schedules), 30)
    kafka.kill()
    time.sleep(60)  # the minute itself is what is tested
    assert dispatcher.get("/readyz")[0] == 503
    assert len(ledger.jobs(schedules[0])) >= 55, "the backlog has room: occurrences are claimed on time meanwhile"
    kafka.start()
    eventually(ledger.outbox_empty, 60, poll=0.01)
    kafka.pause()
    time.sleep(12)
    kafka.resume()
    eventually(lambda: dispatcher.get("/readyz")[0] == 200, 60)
    assert "Kafka acknowledges again" in dispatcher.log
    _check(ledger, own, schedules)
    ledger.close()


def test_a_frozen_kafka_is_named_within_ten_seconds(
    postgres: PostgresServer, kafka: KafkaServer, own: Dispatchers
) -> None:
    """A frozen broker keeps its connections: only its silence tells, with nothing to publish and with something."""
    ledger = Ledger(postgres.database_url)
    dispatcher = own.start("one")
    eventually(lambda: dispatcher.get("/readyz")[0] == 200, 20)
    kafka.pause()
    eventually(lambda: "Kafka does not take messages: it does not answer" in dispatcher.get("/readyz")[1], 10)
    assert dispatcher.get("/readyz")[0] == 503
    kafka.resume()
    eventually(lambda: dispatcher.get("/readyz")[0] == 200, 10)

    schedules = _every_second(ledger, 5)
    eventually(lambda: all(ledger.jobs(one) for one in schedules) and ledger.outbox_empty(), 20, poll=0.01)
    kafka.pause()
    eventually(lambda: "it has acknowledged none of" in dispatcher.get("/readyz")[1], 10)
    assert dispatcher.get("/readyz")[0] == 503
    kafka.resume()
    eventually(lambda: dispatcher.get("/readyz")[0] == 200, 30)
    _check(ledger, own, schedules)
    ledger.close()


def test_claiming_stops_at_a_bounded_backlog(postgres: PostgresServer, kafka: KafkaServer, own: Dispatchers) -> None:
    """Kafka is down: beyond the backlog occurrences wait on their timers, and the catch-up policy decides later."""
    ledger = Ledger(postgres.database_url)
    schedules = [
        ledger.schedule(frequency="interval", interval_seconds=1, overlap_policy="allow", due="now()")
        for _ in range(20)
    ]
    dispatcher = own.start("one", COMMANDCENTER_DISPATCHER_BACKLOG="100")
    eventually(lambda: all(len(ledger.jobs(one)) >= 2 for one in schedules), 30)
    kafka.kill()
    stored = "SELECT coalesce(sum(message_count), 0) FROM outbox"
    eventually(lambda: ledger.one(stored) >= 100, 30)
    before = ledger.one("SELECT count(*) FROM jobs")
    time.sleep(5)
    assert ledger.one("SELECT count(*) FROM jobs") <= before + 20
    kafka.start()
    eventually(ledger.outbox_empty, 60, poll=0.01)
    eventually(lambda: "catchup" in {job["reason"] for job in ledger.jobs(schedules[0])}, 20)
    assert dispatcher.process.poll() is None
    ledger.close()
