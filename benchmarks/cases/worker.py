"""No-op runs through one worker process a second: from its topic to the acknowledged, recorded end, the claim included.

The due runs lie in Kafka before the worker starts. Counted are attempts whose claim is marked ended, which happens only
after Kafka has acknowledged the result. The first second, in which the worker warms up, is left out.
BENCH_RUNS: another number of runs. BENCH_MINUTES: keep it busy so long and watch its memory as well.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import psutil
import psycopg2
from confluent_kafka import Producer

from benchmarks.plug_in import plug_in
from benchmarks.servers import BenchServers
from shared.events.due import DueRun, RunPolicy, due_message
from shared.events.topics import FIXED, runs_due
from shared.kafka.topics import ensure_topics

NAME = "worker"
PARTITIONS = 6
Connection = psycopg2.extensions.connection


def run(servers: BenchServers) -> dict[str, float]:
    """Runs a second; with BENCH_MINUTES also the worker's memory at the start and at the end."""
    number = int(os.environ.get("BENCH_RUNS", "120000"))
    minutes = float(os.environ.get("BENCH_MINUTES", "0"))
    topics = [*FIXED, runs_due("noop")]
    ensure_topics(servers.kafka_bootstrap_servers, servers.topic_prefix, topics, partitions=PARTITIONS, replication=1)
    connection = psycopg2.connect(servers.database_url.replace("+psycopg2", ""))
    connection.autocommit = True
    jobs = _publish(servers, 1, number)
    with servers.service("worker", PYTHONPATH=plug_in(servers.home), COMMANDCENTER_WORKER_TASK_TYPES="noop"):
        figures: dict[str, float] = {"per_second": _per_second(connection, jobs), "runs": number}
        if minutes:
            figures |= _memory(servers, connection, jobs, minutes)
    connection.close()
    return figures


def _publish(servers: BenchServers, first: int, number: int) -> int:
    """Due runs of 1,000 schedules; returns the last job id."""
    producer = Producer({"bootstrap.servers": servers.kafka_bootstrap_servers, "linger.ms": 20})
    now = datetime.now(UTC)
    policy = RunPolicy(3, 30.0, 3600.0, 60, None)
    for job_id in range(first, first + number):
        due = DueRun(job_id, 1, job_id % 1_000, 1, "noop", now, 1, "bench", "schedule", "{}", "{}", policy, now)
        message = due_message(due, now)
        topic = servers.topic_prefix + message.topic
        while True:
            try:
                producer.produce(topic, message.value, message.key, headers=list(message.headers.items()))
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()
    return first + number - 1


def _ended(connection: Connection) -> tuple[int, float]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM run_claims WHERE ended_at IS NOT NULL")
        (row,) = cursor.fetchall()
    return int(row[0]), time.monotonic()


def _per_second(connection: Connection, jobs: int) -> float:
    """The rate between the first second's end and the last run, by the claims' own instants."""
    while _ended(connection)[0] < jobs:
        time.sleep(0.2)
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH warm AS (SELECT min(claimed_at) + interval '1 second' AS since FROM run_claims)"
            " SELECT count(*) / extract(epoch FROM max(ended_at) - min(since))"
            " FROM run_claims, warm WHERE ended_at > since"
        )
        (row,) = cursor.fetchall()
    return float(row[0])


def _memory(servers: BenchServers, connection: Connection, jobs: int, minutes: float) -> dict[str, float]:
    worker = next(_workers(servers))
    before, until = worker.memory_info().rss, time.monotonic() + 60 * minutes
    while time.monotonic() < until:
        jobs = _publish(servers, jobs + 1, 20_000)
        while _ended(connection)[0] < jobs:
            time.sleep(0.2)
    return {
        "memory_before_mib": before / (1 << 20),
        "memory_after_mib": worker.memory_info().rss / (1 << 20),
        "memory_minutes": minutes,
    }


def _workers(servers: BenchServers) -> Iterator[psutil.Process]:
    for process in psutil.process_iter(["cmdline"]):
        if "services.worker" in (process.info["cmdline"] or ()) and _home(process) == str(servers.home):
            yield process


def _home(process: psutil.Process) -> str | None:
    return process.environ().get("COMMANDCENTER_HOME")
