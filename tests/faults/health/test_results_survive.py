"""Results while the health service is killed, stopped and cut off from PostgreSQL: none lost, none counted twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg2
import pytest
from confluent_kafka import Producer

from deploy.local.ports import free_ports
from shared.events.envelope import Event, encode
from shared.events.topics import FIXED
from shared.kafka.topics import ensure_topics
from shared.storage import audit_proof
from shared.storage.database import Database
from tests.integration.health.support import Rows, event, independent_count
from tests.servers import TestServers
from tests.waiting import eventually

SEED = 20251012
RESULTS = int(os.environ.get("COMMANDCENTER_TEST_RESULTS", "3000"))


class Replica:
    """One health process, started again by whoever supervises it: here, the test."""

    def __init__(self, environment: dict[str, str], log: Path, name: str) -> None:
        (port,) = free_ports(1)
        self.environment = {**environment, "COMMANDCENTER_HEALTH_PORT": str(port), "COMMANDCENTER_INSTANCE": name}
        self.log = log
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "services.health"], env=self.environment, stdout=out, stderr=out
            )

    def supervise(self) -> None:
        """Start it again when it has ended."""
        if self.process.poll() is not None:
            self.process = self._start()

    def send(self, number: signal.Signals) -> None:
        """A signal, if it is there to receive one."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def end(self) -> None:
        """For good."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGKILL)
        self.process.wait(10)


@pytest.fixture
def rows(database_url: str) -> Iterator[Rows]:
    opened = Rows(database_url)
    yield opened
    opened.close()


@pytest.fixture
def environment(database_url: str, kafka_server: str, topic_prefix: str, tmp_path: Path) -> dict[str, str]:
    ensure_topics(kafka_server, topic_prefix, FIXED, partitions=4, replication=1)
    return {
        **os.environ,
        "COMMANDCENTER_DATABASE_URL": database_url,
        "COMMANDCENTER_KAFKA_BOOTSTRAP_SERVERS": kafka_server,
        "COMMANDCENTER_TOPIC_PREFIX": topic_prefix,
        "COMMANDCENTER_HOME": str(tmp_path),
        "COMMANDCENTER_HEALTH_SESSION_SECONDS": "3",
        "COMMANDCENTER_STUCK_AFTER_SECONDS": "10",
    }


def send(kafka: str, prefix: str, events: list[Event]) -> None:
    """Publish, in order."""
    producer = Producer({"bootstrap.servers": kafka, "linger.ms": 5, "enable.idempotence": True})
    for one in events:
        message = encode("runs.results", one)
        producer.produce(prefix + message.topic, message.value, message.key, headers=list(message.headers.items()))
        producer.poll(0)
    assert producer.flush(30) == 0


def cut_off(test_servers: TestServers, database_url: str, seconds: float) -> None:
    """End every session of the service and let none in for a while."""
    name = database_url.rsplit("/", 1)[1]
    admin = psycopg2.connect(test_servers.postgres()["admin_url"])
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
            " AND application_name LIKE 'commandcenter-health%%'",
            (name,),
        )
        deadline = time.monotonic() + seconds
        eventually(lambda: time.monotonic() >= deadline, seconds + 5)
        cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    admin.close()


def ended(rows: Rows) -> int:
    return int(rows("SELECT count(*) FROM jobs WHERE status NOT IN ('queued', 'running')")[0][0])


@pytest.mark.xdist_group("health_faults")
def test_no_result_is_lost_or_counted_twice(
    rows: Rows,
    environment: dict[str, str],
    kafka_server: str,
    topic_prefix: str,
    test_servers: TestServers,
    database_url: str,
    tmp_path: Path,
) -> None:
    chance = random.Random(SEED)
    jobs = rows.jobs(RESULTS, schedules=20)
    events: list[Event] = []
    for job in jobs:
        own = [event("started", job), event(chance.choice(("succeeded", "succeeded", "failed", "cancelled")), job)]
        if chance.random() < 0.2:
            own.append(own[-1])  # the producer's repeat
        if chance.random() < 0.1:
            own.append(event("failed", job, by="rescue"))  # a different end, too late
        events.extend(own)
    replicas = [Replica(environment, tmp_path / f"health-{number}.log", f"h{number}") for number in (1, 2)]
    try:
        parts = [events[len(events) * n // 6 : len(events) * (n + 1) // 6] for n in range(6)]
        send(kafka_server, topic_prefix, parts[0])
        eventually(lambda: ended(rows), 30, "the service records")
        send(kafka_server, topic_prefix, parts[1])
        replicas[0].send(signal.SIGKILL)
        send(kafka_server, topic_prefix, parts[2])
        replicas[0].supervise()
        replicas[1].send(signal.SIGSTOP)  # long enough to lose its partitions, then it comes back as a ghost
        send(kafka_server, topic_prefix, parts[3])
        cut_off(test_servers, database_url, 4.0)
        replicas[1].send(signal.SIGCONT)
        send(kafka_server, topic_prefix, parts[4])
        replicas[1].send(signal.SIGKILL)
        replicas[0].send(signal.SIGTERM)
        send(kafka_server, topic_prefix, parts[5])

        def all_ended() -> bool:
            for replica in replicas:
                replica.supervise()
            return ended(rows) == RESULTS

        eventually(all_ended, 60, "every result on record", poll=0.2)
        counts = rows.counts()
        assert counts["statistics"] == independent_count(events)
        late = sum(one.id.endswith("-rescue") for one in events)
        eventually(lambda: rows.counts()["audit"].get("run.late", 0) == late, 30, "late ends are audited")
        audit = rows.counts()["audit"]
        for status in ("succeeded", "failed", "cancelled"):
            assert audit[f"run.{status}"] == counts["jobs"][status]
        database = Database(database_url, application="test")
        proofs = [audit_proof.verify(database, chain) for chain in audit_proof.chains(database)]
        database.close()
        assert [one for one in proofs if one.broken] == []
    finally:
        for replica in replicas:
            replica.end()


@pytest.mark.xdist_group("health_faults")
def test_a_killed_replicas_partitions_move_within_fifteen_seconds(
    rows: Rows, environment: dict[str, str], kafka_server: str, topic_prefix: str, tmp_path: Path
) -> None:
    replicas = [Replica(environment, tmp_path / f"health-{number}.log", f"h{number}") for number in (1, 2)]
    try:
        first = [event("succeeded", job) for job in rows.jobs(40, schedules=20)]
        send(kafka_server, topic_prefix, first)
        eventually(lambda: ended(rows) == len(first), 30, "both record")
        rows("DELETE FROM jobs")
        replicas[0].send(signal.SIGKILL)
        second = [event("succeeded", job) for job in rows.jobs(40, schedules=20)]
        send(kafka_server, topic_prefix, second)
        eventually(lambda: ended(rows) == len(second), 15, "the other replica records for both")
        assert psutil.pid_exists(replicas[1].process.pid)
    finally:
        for replica in replicas:
            replica.end()
