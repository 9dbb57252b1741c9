"""No-op runs through one worker process a second: from its topic to the acknowledged, recorded end, the claim included.

The due runs lie in Kafka before the worker starts. Counted are attempts whose claim is marked ended, which happens only
after Kafka has acknowledged the result. The first second, in which the worker warms up, is left out.
BENCH_RUNS: another number of runs. For memory over a long time see worker_soak.
"""

from __future__ import annotations

import os
import time

import psycopg2

from benchmarks.due_runs import DueRuns
from benchmarks.plug_in import plug_in
from benchmarks.servers import BenchServers
from deploy.local.postgres import libpq_url

NAME = "worker"
Connection = psycopg2.extensions.connection


def run(servers: BenchServers) -> dict[str, float]:
    """Runs a second."""
    number = int(os.environ.get("BENCH_RUNS", "120000"))
    connection = psycopg2.connect(libpq_url(servers.database_url))
    connection.autocommit = True
    due = DueRuns(servers, "noop")
    due.publish("noop", number)
    due.flush()
    with servers.service("worker", PYTHONPATH=plug_in(servers.home), COMMANDCENTER_WORKER_TASK_TYPES="noop"):
        figures: dict[str, float] = {"per_second": _per_second(connection, number), "runs": number}
    connection.close()
    return figures


def _ended(connection: Connection) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM run_claims WHERE ended_at IS NOT NULL")
        ((count,),) = cursor.fetchall()
    return int(count)


def _per_second(connection: Connection, jobs: int) -> float:
    """The rate between the first second's end and the last run, by the claims' own instants."""
    while _ended(connection) < jobs:
        time.sleep(0.2)
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH warm AS (SELECT min(claimed_at) + interval '1 second' AS since FROM run_claims)"
            " SELECT count(*) / extract(epoch FROM max(ended_at) - min(since))"
            " FROM run_claims, warm WHERE ended_at > since"
        )
        (row,) = cursor.fetchall()
    return float(row[0])
