"""A backlog of others, in one project or in thousands, does not delay a project that has something due each second."""

from __future__ import annotations

import time

import pytest

from tests.dispatching import Dispatchers, Ledger
from tests.waiting import eventually

pytestmark = pytest.mark.slow

BACKLOG = 50_000
ROUNDS = 4
BAR = 1.0
SEED = f"""
INSERT INTO projects (id, name) SELECT i, 'project ' || i FROM generate_series(2, %(projects)s + 1) AS i;
WITH made AS (
    INSERT INTO schedules (project_id, name, task_type, frequency, cron_expression, overlap_policy)
    SELECT 2 + i %% %(projects)s, 'one of many', 'health_check', 'cron', i %% 60 || ' ' || far || ' * * *', 'allow'
    FROM generate_series(1, {BACKLOG}) AS i,
        LATERAL (SELECT (extract(hour FROM now() AT TIME ZONE 'UTC')::integer + 12) %% 24 AS far) AS clock
    RETURNING id, project_id
)
INSERT INTO schedule_timers (schedule_id, project_id, next_run_at) SELECT id, project_id, 'infinity' FROM made;
VACUUM ANALYZE
"""
WAITING = "SELECT count(*) FROM schedule_timers WHERE project_id > 1 AND next_run_at < now()"
DELAYS = """
SELECT extract(epoch FROM created_at - scheduled_for)::float FROM jobs
WHERE schedule_id = ANY(%(mine)s) AND reason IS NULL
    AND scheduled_for BETWEEN to_timestamp(%(first)s) AND to_timestamp(%(last)s)
"""


@pytest.mark.parametrize("projects", [1, 3_000])
def test_nobody_waits_for_the_backlog_of_others(ledger: Ledger, dispatchers: Dispatchers, projects: int) -> None:
    for statement in SEED.split(";"):
        ledger.run(statement, {"projects": projects})
    mine = [
        ledger.schedule(
            frequency="interval", interval_seconds=1, overlap_policy="allow", catchup_policy="all",
            due="date_trunc('second', now()) + '1 s'",
        )
        for _ in range(5)
    ]  # fmt: skip
    dispatchers.start()
    eventually(lambda: all(len(ledger.on_time(one)) >= 2 for one in mine), 20)
    delays: list[float] = []
    for _ in range(ROUNDS):
        first = time.time()
        ledger.run("UPDATE schedule_timers SET next_run_at = now() WHERE project_id > 1")
        ledger.wake()
        eventually(lambda: not ledger.one(WAITING), 60)
        delays += [row[0] for row in ledger.run(DELAYS, {"mine": mine, "first": first, "last": time.time()})]
    assert ledger.one("SELECT count(*) FROM jobs WHERE project_id > 1") == ROUNDS * BACKLOG
    assert len(delays) >= 20
    assert sorted(delays)[int(0.99 * len(delays))] <= BAR, max(delays)
