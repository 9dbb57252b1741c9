"""Results while the health service is killed, stopped and cut off from PostgreSQL: none lost, none counted twice."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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
from tests.topics import read_all
from tests.waiting import eventually

SEED = 20251012
SCHEDULES = 20
_RUNS = re.compile(r'^commandcenter_schedule_runs_total{schedule_id="(\d+)",status="(\w+)"} (\S+)$', re.MULTILINE)


class Replica:
    """One health process, started again by whoever supervises it: here, the test."""

    def __init__(self, environment: dict[str, str], log: Path, name: str) -> None:
        (self.port,) = free_ports(1)
        self.environment = {**environment, "COMMANDCENTER_HEALTH_PORT": str(self.port), "COMMANDCENTER_INSTANCE": name}
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

    def counters(self) -> dict[tuple[int, str], int]:
        """What its /metrics says of ended jobs, by schedule and status; nothing while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
                page = answer.read().decode()
        except OSError:
            return {}
        return {(int(schedule), status): int(float(value)) for schedule, status, value in _RUNS.findall(page)}

    def end(self) -> None:
        """For good."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGKILL)
        self.process.wait(10)


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
        "COMMANDCENTER_METRICS_INTERVAL_SECONDS": "0.5",
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
        pause(seconds)
        cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    admin.close()


def ended(rows: Rows) -> int:
    return int(rows("SELECT count(*) FROM jobs WHERE status NOT IN ('queued', 'running')")[0][0])


class Misfortune:
    """Bad things that happen to the replicas, at moments that a seed decides."""

    def __init__(self, replicas: list[Replica], cut: Callable[[float], None], chance: random.Random) -> None:
        self._replicas, self._cut, self._chance = replicas, cut, chance

    def strike(self, kind: str) -> None:
        """Let it happen to one of them, and start again what has ended."""
        victim = self._chance.choice(self._replicas)
        match kind:
            case "kill":
                victim.send(signal.SIGKILL)
            case "end":
                victim.send(signal.SIGTERM)
            case "stop":  # longer than its session: its partitions move, and it comes back as a ghost
                victim.send(signal.SIGSTOP)
                pause(4.0)
                victim.send(signal.SIGCONT)
            case "cut":
                self._cut(self._chance.uniform(0.5, 3.0))
        for replica in self._replicas:
            replica.supervise()


def pause(seconds: float) -> None:
    """Let time go by: a fault has a length."""
    over = time.monotonic() + seconds
    eventually(lambda: time.monotonic() >= over, seconds + 5)


@pytest.mark.xdist_group("health_faults")
@pytest.mark.parametrize(
    ("results", "strikes"),
    [
        (3_000, ["kill", "stop", "cut", "end"]),
        pytest.param(100_000, ["kill", "stop", "cut", "end"] * 8, marks=pytest.mark.slow),
    ],
)
def test_no_result_is_lost_or_counted_twice(
    rows: Rows,
    environment: dict[str, str],
    kafka_server: str,
    test_servers: TestServers,
    tmp_path: Path,
    results: int,
    strikes: list[str],
) -> None:
    database_url, topic_prefix = environment["COMMANDCENTER_DATABASE_URL"], environment["COMMANDCENTER_TOPIC_PREFIX"]
    chance = random.Random(SEED)
    rows(
        "INSERT INTO schedules (id, project_id, name, task_type, frequency)"
        " SELECT i, 1, 'S' || i, 'analysis', 'hourly' FROM generate_series(1, %s) AS i",
        SCHEDULES,
    )
    events = story(rows.jobs(results, schedules=SCHEDULES), chance)
    replicas = [Replica(environment, tmp_path / f"health-{number}.log", f"h{number}") for number in (1, 2)]
    misfortune = Misfortune(replicas, lambda seconds: cut_off(test_servers, database_url, seconds), chance)
    chance.shuffle(strikes)
    try:
        size = len(events) // len(strikes) + 1
        for number, kind in enumerate(strikes):
            send(kafka_server, topic_prefix, events[number * size : (number + 1) * size])
            eventually(lambda: ended(rows), 30, "the service records")
            misfortune.strike(kind)

        def all_ended() -> bool:
            for replica in replicas:
                replica.supervise()
            return ended(rows) == results

        eventually(all_ended, 60 + results / 400, "every result on record", poll=0.2)
        late = sum(one.id.endswith("-rescue") for one in events)
        eventually(lambda: rows.counts()["audit"].get("run.late", 0) == late, 60, "late ends are audited")
        counted = independent_count(of_topic(kafka_server, topic_prefix))
        assert counted == independent_count(events), "the topic holds what was sent"
        agrees_with(counted, rows, database_url)
        exported = {(one, "succeeded"): ends[0] for one, ends in counted.items()}
        exported |= {(one, "failed"): ends[1] for one, ends in counted.items()}
        eventually(lambda: on_duty(replicas) == exported, 30, "the counters agree")
        for replica in replicas:
            replica.send(signal.SIGKILL)
            replica.process.wait(10)
            replica.supervise()
        eventually(lambda: on_duty(replicas) == exported, 60, "the counters agree again after the restart")
    finally:
        for replica in replicas:
            replica.end()


def on_duty(replicas: list[Replica]) -> dict[tuple[int, str], int]:
    """The counters as a sum over replicas sees them: one of them exports."""
    found: dict[tuple[int, str], int] = {}
    for replica in replicas:
        for series, value in replica.counters().items():
            found[series] = found.get(series, 0) + value
    return found


def of_topic(kafka: str, prefix: str) -> list[Any]:
    """The events as a third party reads them from Kafka; a schedule's are in their order."""
    seen = read_all(kafka, [f"{prefix}runs.results"], within=1_000)  # looks of a thousand messages
    return [SimpleNamespace(id=one.headers["ce_id"], data=SimpleNamespace(**one.data)) for one in seen]


def story(jobs: list[tuple[int, int, datetime]], chance: random.Random) -> list[Event]:
    """Each job's start and end, with repeats, and different ends that come too late."""
    events: list[Event] = []
    for job in jobs:
        own = [event("started", job), event(chance.choice(("succeeded", "succeeded", "failed", "cancelled")), job)]
        if chance.random() < 0.2:
            own.append(own[-1])  # the producer's repeat
        if chance.random() < 0.1:
            own.append(event("failed", job, by="rescue"))
        events.extend(own)
    return events


def agrees_with(counted: dict[int, tuple[int, int]], rows: Rows, database_url: str) -> None:
    """Jobs, statistics and audit log say the same as an independent reader of the topic, and the chains hold."""
    counts = rows.counts()
    assert counts["statistics"] == counted
    assert counts["jobs"]["succeeded"] == sum(successes for successes, _ in counted.values())
    assert counts["jobs"]["failed"] == sum(failures for _, failures in counted.values())
    for status in ("succeeded", "failed", "cancelled"):
        assert counts["audit"][f"run.{status}"] == counts["jobs"][status]
    database = Database(database_url, application="test")
    proofs = [audit_proof.verify(database, chain) for chain in audit_proof.chains(database)]
    database.close()
    assert [one for one in proofs if one.broken] == []


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
