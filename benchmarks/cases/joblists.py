"""Lists of jobs and of the audit log among millions, by each documented filter, eight callers at once.

Jobs of a week, evenly spread over its days: one in a thousand failed, one in ten thousand cancelled or made by hand, a
few open; half of them with an audit entry. BENCH_JOBS: another number. BENCH_SECONDS: how long each list is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg2

from benchmarks.asking import PREPARED, Request, api_process, ask, figures
from benchmarks.servers import BenchServers
from services.health.counting import Counting
from shared.storage.database import Database

NAME = "joblists"
CALLERS = 8
SECONDS = float(os.environ.get("BENCH_SECONDS", "3"))
WARM_SECONDS = 0.5
PROJECTS, SCHEDULES = 2_000, 100_000
DAYS = 9

_STORED = """
SELECT ensure_partitions((now() AT TIME ZONE 'UTC')::date - 8, (now() AT TIME ZONE 'UTC')::date + 1);
INSERT INTO projects (id, name) SELECT i, 'project ' || i FROM generate_series(2, %(projects)s) AS i;
INSERT INTO schedules (id, project_id, name, task_type, frequency, tags)
SELECT i, 1 + i %% %(projects)s, 'schedule ' || i, 'analysis', 'daily', jsonb_build_object('team', 'team ' || i %% 50)
FROM generate_series(1, %(schedules)s) AS i;
INSERT INTO schedule_versions (schedule_id, version, name, task_type, task_parameters, tags)
SELECT id, 1, name, task_type, task_parameters, tags FROM schedules;
INSERT INTO jobs (schedule_id, schedule_version, project_id, task_type, trigger, status, scheduled_for, started_at,
    finished_at, attempt, max_attempts)
SELECT 1 + i %% %(schedules)s, 1, 1 + (1 + i %% %(schedules)s) %% %(projects)s,
    CASE WHEN i %% 5000 = 7 THEN 'export' ELSE 'analysis' END,
    CASE WHEN i %% 10000 = 3 THEN 'manual' ELSE 'schedule' END,
    CASE WHEN i %% 1000 = 1 THEN 'failed' WHEN i %% 10000 = 2 THEN 'cancelled' WHEN i < 20 THEN 'running'
         WHEN i < 40 THEN 'queued' ELSE 'succeeded' END,
    due, due + interval '1 second', due + interval '3 seconds', 1, 3
FROM (SELECT i, now() - i * (interval '7 days' / %(jobs)s) AS due
      FROM generate_series(%(jobs)s, 1, -1) AS i) AS numbered;
INSERT INTO audit_log (at, event_id, action, actor, project_id, schedule_id, job_id, attempt, chain, place,
    previous_hash, hash)
SELECT finished_at, 'run-' || id, 'run.' || status, 'worker-' || id %% 4, project_id, schedule_id, id, 1, 'c', id,
    '', ''
FROM jobs WHERE id %% 2 = 0;
"""
_BY_HAND = """
INSERT INTO audit_log (at, event_id, action, actor, project_id, schedule_id, chain, place, previous_hash, hash)
SELECT now() - i * interval '1 hour', 'hand-' || i, 'job.execute', 'alice', 1 + i % 2000, i, 'h', i, '', ''
FROM generate_series(1, 150) AS i
"""


def run(servers: BenchServers) -> dict[str, float]:
    """Durations are milliseconds."""
    stored = int(os.environ.get("BENCH_JOBS", "1000000"))
    metrics: dict[str, float] = {"jobs": stored, **_store(servers.owner_url, stored)}
    lists = []
    with api_process(servers) as port:
        for name, request in _requests().items():
            ask(port, request, WARM_SECONDS, CALLERS)
            found = figures(name, *ask(port, request, SECONDS, CALLERS, PREPARED))
            metrics |= found
            lists.append(found[f"{name}_p99_ms"])
    metrics["list_p99_ms"] = max(lists)
    return metrics


def _requests() -> dict[str, Callable[[int], Request]]:
    """What is asked, by name; each gets the request's number."""
    now = datetime.now(UTC)

    def hours_ago(number: int) -> str:
        return f"{now - timedelta(hours=number % 160):%Y-%m-%dT%H:%M:%SZ}"

    def listed(place: str, query: Callable[[int], str]) -> Callable[[int], Request]:
        return lambda number: ("GET", f"/api/v1/{place}?{query(number)}", None)

    filters: dict[str, Callable[[int], str]] = {
        "all": lambda number: f"page={1 + number % 5}",
        "project": lambda number: f"project_id={1 + number % PROJECTS}",
        "schedule": lambda number: f"schedule_id={1 + number * 7919 % SCHEDULES}",
        "from": lambda number: f"from={hours_ago(number)}",
        "to": lambda number: f"to={hours_ago(number)}&page={1 + number % 3}",
    }
    jobs = filters | {
        f"status_{status}": lambda number, status=status: f"status={status}&page={1 + number % 2}"
        for status in ("succeeded", "failed", "cancelled", "running", "queued", "retrying")
    }
    jobs |= {
        "task_type": lambda number: f"task_type=export&page={1 + number % 2}",
        "trigger": lambda number: f"trigger=manual&page={1 + number % 2}",
        "project_failed": lambda number: f"project_id={1 + number % PROJECTS}&status=failed",
        "project_tag": lambda number: f"project_id={1 + number % PROJECTS}&tags.team=team%207",
    }
    audit = filters | {
        "actor": lambda number: f"actor=alice&page={1 + number % 2}",
        "action": lambda number: f"action=run.failed&page={1 + number % 2}",
    }
    return {f"jobs_{name}": listed("jobs", query) for name, query in jobs.items()} | {
        f"audit_{name}": listed("audit", query) for name, query in audit.items()
    }


def _store(database_url: str, stored: int) -> dict[str, float]:
    """Store everything and have it counted, as health does; returns how long counting took."""
    connection = psycopg2.connect(database_url.replace("+psycopg2", ""))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(_STORED, {"jobs": stored, "projects": PROJECTS, "schedules": SCHEDULES})
        cursor.execute(_BY_HAND)
        cursor.execute("VACUUM ANALYZE")
        database = Database(database_url, application="bench", statement_timeout_ms=300_000)
        for _ in range(DAYS):  # an index of rare types a round
            Counting(database).run(datetime.now(UTC))
        database.close()
        cursor.execute("SELECT max(seconds) FROM counted_partitions")
        slowest = (cursor.fetchone() or (0,))[0]
    connection.close()
    return {"counting_a_day_seconds": float(slowest or 0)}
