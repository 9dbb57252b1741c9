"""Results recorded a second by one health process, and the cost of the monitor's report over a million schedules.

Results of 1,000 schedules lie in Kafka; the process starts, and the time counts from its first to its last batch: a
job, statistics and a chained audit entry each, durable, offsets committed. BENCH_RESULTS and BENCH_SCHEDULES: other
sizes.
"""

from __future__ import annotations

import os
import re
import time
from datetime import UTC, datetime, timedelta

import psycopg2
from confluent_kafka import Producer
from psycopg2.extras import execute_values

from benchmarks.reading import metrics_page
from benchmarks.servers import BenchServers
from shared.domain.health import Limits
from shared.events.envelope import Event, encode, ended_id
from shared.events.topics import FIXED, RUNS_RESULTS
from shared.events.types import RunSucceeded
from shared.kafka.topics import ensure_topics
from shared.storage import issues, monitor
from shared.storage.database import Database

NAME = "health"
SCHEDULES_OF_RESULTS = 1_000
PARTITIONS = 6


def run(servers: BenchServers) -> dict[str, float]:
    """The figures."""
    results = int(os.environ.get("BENCH_RESULTS", "100000"))
    stored = int(os.environ.get("BENCH_SCHEDULES", "1000000"))
    ensure_topics(servers.kafka_bootstrap_servers, servers.topic_prefix, FIXED, partitions=PARTITIONS, replication=1)
    connection = psycopg2.connect(servers.owner_url.replace("+psycopg2", ""))
    connection.autocommit = True
    _publish(servers, _store_jobs(connection, results))
    with servers.service("health") as url:
        per_second = _recorded_per_second(connection, results)
        batch = _events_per_transaction(url)
    _store_schedules(connection, stored)
    seconds = min(_report_seconds(servers) for _ in range(3))
    connection.close()
    return {
        "per_second": per_second,
        "results": results,
        "events_per_transaction": batch,
        "report_seconds": seconds,
        "report_schedules": stored,
    }


def _store_jobs(connection: psycopg2.extensions.connection, number: int) -> list[tuple[int, int, datetime]]:
    now = datetime.now(UTC).replace(microsecond=0)
    values = [(1 + i % SCHEDULES_OF_RESULTS, now - timedelta(seconds=i // SCHEDULES_OF_RESULTS)) for i in range(number)]
    with connection.cursor() as cursor:
        made: list[tuple[int, int, datetime]] = execute_values(
            cursor,
            "INSERT INTO jobs (schedule_id, schedule_version, project_id, task_type, trigger, status, scheduled_for)"
            " VALUES %s RETURNING id, schedule_id, scheduled_for",
            values,
            template="(%s, 1, 1, 'analysis', 'schedule', 'queued', %s)",
            page_size=5_000,
            fetch=True,
        )
    return made


def _publish(servers: BenchServers, jobs: list[tuple[int, int, datetime]]) -> None:
    producer = Producer(
        {"bootstrap.servers": servers.kafka_bootstrap_servers, "linger.ms": 50, "compression.type": "lz4"}
    )
    now = datetime.now(UTC)
    for job_id, schedule_id, scheduled_for in jobs:
        data = RunSucceeded(
            job_id=job_id,
            attempt=1,
            schedule_id=schedule_id,
            project_id=1,
            task_type="analysis",
            scheduled_for=scheduled_for,
            worker="bench#1",
            started_at=now,
            finished_at=now,
            duration_seconds=1.25,
            result={"findings": 3},
        )
        event = Event(ended_id(job_id, 1, "succeeded", "bench"), "/bench", now, data, schedule_id, job_id)
        message = encode(RUNS_RESULTS.name, event)
        topic, headers = servers.topic_prefix + message.topic, dict[str, str | bytes | None](message.headers)
        while True:
            try:
                producer.produce(topic, message.value, message.key, headers=headers)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush(60)


def _recorded_per_second(connection: psycopg2.extensions.connection, results: int) -> float:
    """From the first look that sees results to the one that sees all. Looks at the ends of the chains, a few rows that
    each transaction moves: adding up the statistics fifty times a second would weigh on what is measured.
    """
    first: tuple[float, int] | None = None
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        done = _number(connection, "SELECT coalesce(sum(place), 0) FROM audit_chains")
        now = time.monotonic()
        if first is None and done:
            first = now, done
        if first is not None and done >= results:
            counted = _number(connection, "SELECT sum(success_count) FROM schedule_statistics")
            if counted != results:
                raise RuntimeError(f"{counted} results are counted, {results} were published")
            return (results - first[1]) / (now - first[0])
        time.sleep(0.02)
    raise RuntimeError("the results were not recorded within five minutes")


def _events_per_transaction(url: str) -> float:
    found = re.findall(r"^commandcenter_record_batch_size_(sum|count) (\S+)$", metrics_page(url), re.MULTILINE)
    values = {name: float(value) for name, value in found}
    return values["sum"] / values["count"]


def _number(connection: psycopg2.extensions.connection, statement: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return int((cursor.fetchone() or (0,))[0])


def _store_schedules(connection: psycopg2.extensions.connection, number: int) -> None:
    """Schedules of which one in a thousand fails, one in ten thousand is stale or overdue."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO schedules (id, project_id, name, task_type, frequency, created_at)"
            " SELECT 1000000 + i, 1 + i %% 100, 'S' || i, 'analysis', 'daily', now() - interval '60 days'"
            " FROM generate_series(1, %s) AS i",
            (number,),
        )
        cursor.execute(
            "INSERT INTO schedule_timers (schedule_id, project_id, next_run_at, last_claimed_for)"
            " SELECT 1000000 + i, 1 + i %% 100, now() + CASE WHEN i %% 10000 = 1 THEN interval '-1 hour' ELSE"
            " interval '1 hour' END, now() - interval '12 hours' FROM generate_series(1, %s) AS i",
            (number,),
        )
        cursor.execute(
            "INSERT INTO schedule_statistics (schedule_id, project_id, success_count, failure_count,"
            " consecutive_failures, last_run_at)"
            " SELECT 1000000 + i, 1 + i %% 100, 20, CASE WHEN i %% 1000 = 0 THEN 30 ELSE i %% 3 END,"
            " CASE WHEN i %% 1000 = 0 THEN 5 ELSE 0 END,"
            " now() - CASE WHEN i %% 10000 = 2 THEN interval '20 days' ELSE interval '12 hours' END"
            " FROM generate_series(1, %s) AS i",
            (number,),
        )
        cursor.execute("VACUUM ANALYZE schedules, schedule_timers, schedule_statistics")


def _report_seconds(servers: BenchServers) -> float:
    database = Database(servers.database_url, application="bench")
    started = time.monotonic()
    with database.transaction() as connection:
        now = monitor.database_now(connection)
        findings, totals = monitor.survey(connection, Limits(), now)
        issues.note(connection, findings, totals, now, 0.0)
    seconds = time.monotonic() - started
    database.close()
    return seconds
