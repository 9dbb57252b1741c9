"""The API: creations, reads, lists and statistics over a million stored schedules, eight callers at once.

One api process; 2,000 projects of 500 schedules each. Every figure comes with its rate. Conflict detection is measured
apart, each time in a fresh process: creations in projects whose 1,000 and 10,000 schedules all work on one target, each
with a timing of its own in one of four zones; the very first, one caller's, and eight callers'.
BENCH_STORED: another number of stored schedules. BENCH_SECONDS: how long each request is repeated.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import psycopg2

from benchmarks.asking import PREPARED, Request, api_process, ask, figures
from benchmarks.servers import BenchServers

NAME = "api"
CALLERS = 8
SECONDS = float(os.environ.get("BENCH_SECONDS", "5"))
WARM_SECONDS = 1.0
PROJECTS = 2_000
ON_ONE_TARGET = {1_000: PROJECTS + 1, 10_000: PROJECTS + 2}
"""Projects, by how many schedules with one target they have."""

_STORED = """
INSERT INTO projects (id, name) SELECT i, 'project ' || i FROM generate_series(2, %(projects)s) AS i;
INSERT INTO schedules (project_id, name, task_type, frequency, cron_expression, interval_seconds, timezone, tags,
    enabled, task_parameters, conflict_key, created_at)
SELECT 1 + i %% %(projects)s, 'schedule ' || i,
    (ARRAY['analysis', 'export', 'webhook_delivery', 'sync', 'batch', 'health_check'])[1 + i %% 6], frequency,
    CASE WHEN frequency = 'cron' THEN (i %% 60) || ' ' || (i / 60 %% 24) || ' * * *' END,
    CASE WHEN frequency = 'interval' THEN 60 + i %% 3600 END,
    (ARRAY['UTC', 'America/New_York', 'Europe/London', 'Asia/Tokyo'])[1 + i %% 4],
    jsonb_build_object('team', 'team ' || i %% 50), i %% 20 <> 0,
    jsonb_build_object('repository_id', i), 'repository_id:' || i, now() - i * interval '1 second'
FROM (SELECT i, (ARRAY['hourly', 'daily', 'weekly', 'monthly', 'cron', 'cron', 'interval'])[1 + i %% 7] AS frequency
      FROM generate_series(1, %(stored)s) AS i) AS numbered;
INSERT INTO schedule_timers (schedule_id, project_id, next_run_at)
SELECT id, project_id, now() + (id %% 86400 + 7200) * interval '1 second' FROM schedules WHERE enabled;
INSERT INTO schedule_statistics (schedule_id, project_id, success_count, failure_count, last_run_at, last_status)
SELECT id, project_id, id %% 1000, id %% 10, now(), 'succeeded' FROM schedules;
"""
_ON_ONE_TARGET = """
INSERT INTO projects (id, name) VALUES (%(project)s, 'on one target ' || %(project)s);
INSERT INTO schedules (project_id, name, task_type, frequency, cron_expression, timezone, task_parameters, conflict_key)
SELECT %(project)s, 'schedule ' || i, 'analysis', 'cron',
    (i %% 60) || ' ' || (i / 60 %% 24) || ' * * ' || i / 1440 %% 7,
    (ARRAY['UTC', 'America/New_York', 'Europe/London', 'Asia/Tokyo'])[1 + i %% 4],
    '{"repository_id": 1}', 'repository_id:1'
FROM generate_series(1, %(number)s) AS i;
"""


def run(servers: BenchServers) -> dict[str, float]:
    """Seconds are thousandths, rates are requests a second."""
    stored = int(os.environ.get("BENCH_STORED", "1000000"))
    _store(servers.owner_url, stored)
    metrics: dict[str, float] = {"stored": stored}
    with api_process(servers) as port:
        for name, request in _requests(stored).items():
            ask(port, request, WARM_SECONDS, CALLERS)
            metrics |= figures(name, *ask(port, request, SECONDS, CALLERS, PREPARED))
        lists = [value for name, value in metrics.items() if name.startswith("list_") and name.endswith("_p99_ms")]
        metrics["list_p99_ms"] = max(lists)
    for number, project in ON_ONE_TARGET.items():
        metrics |= _among(servers, f"create_among_{number}", project)
    return metrics


def _among(servers: BenchServers, name: str, project: int) -> dict[str, float]:
    """Creations on a target that so many schedules have, in a process that has seen none of them."""

    def request(number: int) -> Request:
        timing = {"enabled": True, "cron_expression": f"{number % 60} 3 * * 0", "end_time": _SOON}
        return "POST", "/api/v1/schedules", _schedule(project, 1) | timing

    with api_process(servers) as port:
        ask(port, lambda _: ("GET", "/api/v1/projects/1", None), 0, 1)  # connections are open
        (first,), _ = ask(port, request, 0, 1)
        alone = figures(f"{name}_alone", *ask(port, request, WARM_SECONDS, 1))
        many = figures(name, *ask(port, request, SECONDS, CALLERS, PREPARED))
    return {f"{name}_first_ms": first * 1000} | alone | many


def _requests(stored: int) -> dict[str, Callable[[int], Request]]:
    """What is asked, by name; each gets the request's number."""
    schedules = "/api/v1/schedules"
    requests: dict[str, Callable[[int], Request]] = {
        "get": lambda number: ("GET", f"{schedules}/{1 + number * 7919 % stored}", None),
        "list_all": lambda number: ("GET", f"{schedules}?page={1 + number % 5}", None),
        "list_project": lambda number: ("GET", f"{schedules}?project_id={1 + number % PROJECTS}", None),
        "list_enabled": lambda number: ("GET", f"{schedules}?enabled=true&page={1 + number % 3}", None),
        "list_disabled": lambda number: ("GET", f"{schedules}?enabled=false&page={1 + number % 3}", None),
        "list_task_type": lambda number: ("GET", f"{schedules}?task_type=export&page={1 + number % 3}", None),
        "list_frequency": lambda number: ("GET", f"{schedules}?frequency=weekly&page={1 + number % 3}", None),
        "list_tag": lambda number: ("GET", f"{schedules}?project_id={1 + number % PROJECTS}&tags.team=team%207", None),
        "statistics": lambda _: ("GET", f"{schedules}/statistics/summary", None),
        "statistics_project": lambda number: (
            "GET",
            f"{schedules}/statistics/summary?project_id={1 + number % PROJECTS}",
            None,
        ),
        "create": lambda number: ("POST", schedules, _schedule(1 + number % PROJECTS, 10_000_000 + number)),
    }
    return requests


_SOON = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 8 * 86_400))


def _schedule(project: int, repository: int) -> dict[str, object]:
    return {
        "project_id": project,
        "name": "made by the benchmark",
        "task_type": "analysis",
        "frequency": "cron",
        "cron_expression": f"{repository % 60} 3 * * *",
        "task_parameters": {"repository_id": repository},
        "tags": {"team": "bench"},
    }


def _store(database_url: str, stored: int) -> None:
    connection = psycopg2.connect(database_url.replace("+psycopg2", ""))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(_STORED, {"stored": stored, "projects": PROJECTS})
        for number, project in ON_ONE_TARGET.items():
            cursor.execute(_ON_ONE_TARGET, {"number": number, "project": project})
        cursor.execute("VACUUM ANALYZE")
    connection.close()
