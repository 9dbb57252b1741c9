"""The whole health service as a process, on real servers: what operators and third parties see of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from confluent_kafka import Producer

from deploy.local.ports import free_ports
from shared.events.envelope import Event, encode
from shared.events.types import Actor, RunRequested
from tests.integration.health.support import NOW, Rows, event
from tests.otlp import SpanReceiver
from tests.servers import TestServers
from tests.topics import read_all
from tests.waiting import eventually

pytestmark = pytest.mark.xdist_group("health_service")

PROGRAM = ("-m", "services.health")
OLDER_PROGRAM = (
    "-c",
    "from services.health import watch; watch.TOPICS = watch.TOPICS[::2];"  # noqa: ISC004 (one program)
    " from services.health.__main__ import main; main()",
)
"""A version that did not yet consume `runs.requests`."""


class Health:
    """A running service."""

    def __init__(self, environment: dict[str, str], log: Path, program: tuple[str, ...] = PROGRAM) -> None:
        (self.port,) = free_ports(1)
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, *program],
                env={**environment, "COMMANDCENTER_HEALTH_PORT": str(self.port)},
                stdout=out,
                stderr=out,
            )

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except urllib.error.URLError:
            return 0, ""

    def ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def metric(self, line: str) -> float | None:
        for found in self.get("/metrics")[1].splitlines():
            if found.startswith(line + " "):
                return float(found.rpartition(" ")[2])
        return None

    def end(self, within: float = 20) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)


@pytest.fixture
def health(database_url: str, kafka_server: str, topic_prefix: str, tmp_path: Path) -> Iterator[Health]:
    environment = {
        **os.environ,
        "COMMANDCENTER_DATABASE_URL": database_url,
        "COMMANDCENTER_KAFKA_BOOTSTRAP_SERVERS": kafka_server,
        "COMMANDCENTER_TOPIC_PREFIX": topic_prefix,
        "COMMANDCENTER_TOPIC_PARTITIONS": "2",
        "COMMANDCENTER_HOME": str(tmp_path),
        "COMMANDCENTER_MONITOR_INTERVAL_SECONDS": "0.5",
        "COMMANDCENTER_METRICS_INTERVAL_SECONDS": "0.5",
        "COMMANDCENTER_METRICS_SCHEDULE_LIMIT": "2",
    }
    started = Health(environment, tmp_path / "health.log")
    yield started
    started.process.kill()
    started.process.wait(10)


def add_schedule(rows: Rows, name: str, **values: Any) -> int:
    columns = {"name": name, "project_id": 1, "task_type": "analysis", "frequency": "hourly"} | values
    marks = ", ".join(["%s"] * len(columns))
    ((schedule_id,),) = rows(
        f"INSERT INTO schedules ({', '.join(columns)}) VALUES ({marks}) RETURNING id", *columns.values()
    )
    rows("INSERT INTO schedule_timers (schedule_id, project_id) VALUES (%s, 1)", schedule_id)
    return int(schedule_id)


def publish(kafka: str, prefix: str, events: list[Event], topic: str = "runs.results") -> None:
    producer = Producer({"bootstrap.servers": kafka})
    for one in events:
        message = encode(topic, one)
        producer.produce(prefix + message.topic, message.value, message.key, headers=list(message.headers.items()))
    assert producer.flush(20) == 0


def test_what_operators_and_third_parties_see(health: Health, rows: Rows, kafka_server: str, topic_prefix: str) -> None:
    over = add_schedule(rows, "Campaign", end_time="2025-11-30T23:59:59Z")
    pausing = add_schedule(rows, "Flaky", pause_after_failures=3)
    third = add_schedule(rows, "Third")
    eventually(health.ready, 20, "it is ready")
    assert health.get("/livez")[0] == 200

    # The daily cleanup, made up for at the first start, disables what is past its end.
    eventually(lambda: rows("SELECT enabled FROM schedules WHERE id = %s", over) == [(False,)], 15)

    # Three failures in a row: on record, and the schedule pauses by its own policy.
    jobs = rows.jobs(3, schedules=1)
    rows("UPDATE jobs SET schedule_id = %s", pausing)
    publish(kafka_server, topic_prefix, [event("failed", (job_id, pausing, at)) for job_id, _, at in jobs])
    eventually(lambda: rows("SELECT enabled FROM schedules WHERE id = %s", pausing) == [(False,)], 15)
    assert rows("SELECT failure_count, consecutive_failures, last_error FROM schedule_statistics") == [
        (3, 3, "it broke")
    ]
    changes = [json.loads(row[0])[0] for row in rows("SELECT messages FROM outbox ORDER BY id")]
    told = {json.loads(one["value"])["schedule_id"]: json.loads(one["value"]) for one in changes}
    assert told[over]["actor"]["name"] == "health: window over"
    assert told[pausing]["actor"]["name"] == "health: pause_after_failures"
    assert (told[pausing]["before"]["enabled"], told[pausing]["after"]["enabled"]) == (True, False)

    # Nobody dispatches here: the monitor says so on the topic, in the log and in the metrics.
    def alerts() -> list[Any]:
        return read_all(kafka_server, [f"{topic_prefix}health.alerts"])

    alert = eventually(alerts, 15, "an alert")[0]
    assert alert.headers["ce_type"] == "commandcenter.health.issue.opened.v1"
    assert alert.data["kind"] == "no_leader"
    series = 'commandcenter_health_open_issues{kind="no_leader",severity="critical"}'
    eventually(lambda: health.metric(series) == 1, 10)

    # Metrics of single schedules, from stored statistics, bounded, saying that they are cut.
    runs = f'commandcenter_schedule_runs_total{{schedule_id="{pausing}",status="failed"}}'
    rows("UPDATE schedules SET enabled = true WHERE id = %s", pausing)
    eventually(lambda: health.metric(runs) == 3, 10)
    assert health.metric("commandcenter_schedule_metrics_cut") == 1
    assert health.metric(f'schedule_success_rate{{schedule_id="{pausing}"}}') == 0
    assert health.metric(f'commandcenter_schedule_runs_total{{schedule_id="{over}",status="failed"}}') is None
    assert health.metric('commandcenter_schedules_total{status="enabled"}') == 2
    assert third > pausing

    # Unreadable: put aside with reason and original bytes.
    producer = Producer({"bootstrap.servers": kafka_server})
    producer.produce(f"{topic_prefix}runs.results", b"\xff{", b"9")
    producer.flush(10)

    def dead() -> int:
        low, high = _ends(kafka_server, f"{topic_prefix}runs.dead")
        return high - low

    eventually(lambda: dead() == 1, 15, "the dead letter")

    assert health.end() == 0
    log = health.log.read_text()
    for line in (
        "Schedule cleanup completed: 1 schedules disabled",
        "Put a message aside that cannot be recorded",
        "monitor_schedule_health completed:",
        "action=schedule_health",
        f"schedule_id={pausing}",
        "Health service ended",
    ):
        assert line in log


def _ends(kafka: str, topic: str) -> tuple[int, int]:
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "test-ends"})
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        marks = [consumer.get_watermark_offsets(TopicPartition(topic, one), timeout=10) for one in partitions]
        return sum(low for low, _ in marks), sum(high for _, high in marks)
    finally:
        consumer.close()


def test_the_trace_of_a_run_ends_with_its_record(
    rows: Rows, kafka_server: str, topic_prefix: str, database_url: str, tmp_path: Path
) -> None:
    collector = SpanReceiver()
    environment = {
        **os.environ,
        "COMMANDCENTER_DATABASE_URL": database_url,
        "COMMANDCENTER_KAFKA_BOOTSTRAP_SERVERS": kafka_server,
        "COMMANDCENTER_TOPIC_PREFIX": topic_prefix,
        "COMMANDCENTER_HOME": str(tmp_path),
        "COMMANDCENTER_OTLP_ENDPOINT": collector.endpoint,
    }
    health = Health(environment, tmp_path / "health.log")
    try:
        eventually(health.ready, 20, "it is ready")
        kept, other, dropped = rows.jobs(3)
        trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
        events = [
            replace(event("succeeded", kept), traceparent=f"00-{trace}-{parent}-01"),
            replace(event("succeeded", other), traceparent=f"00-{trace}-{parent}-03"),  # "random" besides "sampled"
            replace(event("succeeded", dropped), traceparent=f"00-{trace[::-1]}-{parent}-00"),
        ]
        publish(kafka_server, topic_prefix, events)
        eventually(lambda: rows.counts()["jobs"] == {"succeeded": 3}, 15)
        assert health.end() == 0
        found = [span for span in collector.spans if span.name == "record run.succeeded"]
        assert [(one.trace_id, one.parent_id) for one in found] == [(trace, parent)] * 2
    finally:
        health.process.kill()
        collector.close()


def test_a_collector_that_hangs_costs_no_result_and_does_not_keep_the_process(
    rows: Rows, kafka_server: str, topic_prefix: str, database_url: str, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never answers
        environment = {
            **os.environ,
            "COMMANDCENTER_DATABASE_URL": database_url,
            "COMMANDCENTER_KAFKA_BOOTSTRAP_SERVERS": kafka_server,
            "COMMANDCENTER_TOPIC_PREFIX": topic_prefix,
            "COMMANDCENTER_HOME": str(tmp_path),
            "COMMANDCENTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}",
        }
        health = Health(environment, tmp_path / "health.log")
        try:
            eventually(health.ready, 20, "it is ready")
            trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
            ends = [replace(event("succeeded", job), traceparent=trace) for job in rows.jobs(3_000)]
            publish(kafka_server, topic_prefix, ends)
            eventually(lambda: rows.counts()["jobs"] == {"succeeded": 3_000}, 20, "all are recorded")
            assert health.end(within=10) == 0
        finally:
            health.process.kill()


def test_it_says_what_it_waits_for_and_goes_on_by_itself(
    health: Health, rows: Rows, kafka_server: str, topic_prefix: str, test_servers: TestServers, database_url: str
) -> None:
    eventually(health.ready, 20, "it is ready")
    jobs = rows.jobs(5)
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
        publish(kafka_server, topic_prefix, [event("succeeded", job) for job in jobs])
        body = eventually(lambda: (found := health.get("/readyz"))[0] == 503 and found[1], 15, "it is not ready")
        assert any("PostgreSQL" in sentence for sentence in json.loads(str(body))["checks"].values())
        assert health.get("/livez")[0] == 200
        cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    admin.close()
    eventually(lambda: rows.counts()["jobs"] == {"succeeded": 5}, 20, "it goes on")
    eventually(health.ready, 10, "it is ready again")


def test_a_topic_that_came_with_the_restart_is_consumed(
    rows: Rows, kafka_server: str, topic_prefix: str, database_url: str, tmp_path: Path
) -> None:
    """Kafka gives a member that comes back under its name its old partitions, whatever it asks for now."""
    environment = {
        **os.environ,
        "COMMANDCENTER_DATABASE_URL": database_url,
        "COMMANDCENTER_KAFKA_BOOTSTRAP_SERVERS": kafka_server,
        "COMMANDCENTER_TOPIC_PREFIX": topic_prefix,
        "COMMANDCENTER_HOME": str(tmp_path),
        "COMMANDCENTER_INSTANCE": "health-0",
    }
    first, second, third = rows.jobs(3)
    older = Health(environment, tmp_path / "older.log", OLDER_PROGRAM)
    try:
        publish(kafka_server, topic_prefix, [event("succeeded", first)])
        eventually(lambda: rows.counts()["jobs"].get("succeeded") == 1, 20, "the older version records")
    finally:
        older.process.kill()
        older.process.wait(10)
    newer = Health(environment, tmp_path / "newer.log")
    try:
        publish(kafka_server, topic_prefix, [event("succeeded", second)])
        asked = RunRequested(
            request="execute",
            job_id=third[0],
            schedule_id=third[1],
            project_id=1,
            task_type="analysis",
            scheduled_for=third[2],
            actor=Actor(name="key:ops"),
        )
        publish(kafka_server, topic_prefix, [Event("asked-1", "/api", NOW, asked, third[1], third[0])], "runs.requests")
        eventually(lambda: rows.counts()["audit"] == {"run.succeeded": 2, "job.execute": 1}, 25, "all its topics")
        assert newer.end() == 0
    finally:
        newer.process.kill()
        newer.process.wait(10)
