"""Which jobs are not over yet, and that a look costs the same however many there are: workers or health may be away."""

from __future__ import annotations

import json
from collections import defaultdict

import pytest

from shared.storage import open_jobs
from shared.storage.session import Session, array
from tests.dispatching import Dispatchers, Ledger
from tests.waiting import eventually

JOBS = """
INSERT INTO jobs (schedule_id, schedule_version, project_id, task_type, trigger, status, scheduled_for, held)
SELECT schedule, 1, 1, 'health_check', 'schedule', 'queued', now() - number * interval '1 s', %(held)s
FROM unnest(%(schedules)s) AS schedule, generate_series(%(first)s, %(last)s) AS number
"""
CLAIMS = """
INSERT INTO run_claims (job_id, attempt, schedule_id, scheduled_for, worker, lease_until, ended_at, will_retry)
SELECT id, attempt, schedule_id, scheduled_for, 'w', now() + '1 h', CASE WHEN {ended} THEN now() END, {retry}
FROM jobs WHERE schedule_id = %(schedule)s ORDER BY scheduled_for LIMIT %(oldest)s
"""

STILL_RUNS = """
UPDATE run_claims SET ended_at = NULL WHERE schedule_id = %(schedule)s
    AND scheduled_for = (SELECT min(scheduled_for) FROM run_claims WHERE schedule_id = %(schedule)s)
"""


def _jobs(ledger: Ledger, schedules: list[int], first: int, last: int, *, held: bool = False) -> None:
    """Jobs so many seconds old."""
    ledger.run(JOBS, {"schedules": schedules, "first": first, "last": last, "held": held})


def _claim(ledger: Ledger, schedule: int, oldest: int, *, ended: bool, retry: bool = False) -> None:
    statement = CLAIMS.format(ended=str(ended).lower(), retry=str(retry).lower())
    ledger.run(statement, {"schedule": schedule, "oldest": oldest})


@pytest.mark.parametrize("many", [0, 3_000])
def test_the_few_that_are_read_decide_as_all_would(ledger: Ledger, session: Session, many: int) -> None:
    """With few open jobs all are read; one schedule with very many makes the look read a few of each."""
    over, waiting, retried, held, longest = 1, 2, 3, 4, 5
    for schedule in (over, waiting, retried):
        _jobs(ledger, [schedule], 1, 3)
    _claim(ledger, over, 3, ended=True)
    _claim(ledger, retried, 3, ended=True, retry=True)
    _jobs(ledger, [held], 1, 1, held=True)
    _jobs(ledger, [longest], 1, 15)
    _claim(ledger, longest, 15, ended=True)
    ledger.run(STILL_RUNS, {"schedule": longest})
    if many:
        _jobs(ledger, [6], 1, many)
        _claim(ledger, 6, many, ended=True)
        _jobs(ledger, [7], 1, many)

    found: dict[int, list[open_jobs.OpenJob]] = defaultdict(list)
    for job in open_jobs.open_jobs(session, [over, waiting, retried, held, longest, 6, 7]):
        found[job.schedule_id].append(job)
    assert set(found) == {waiting, retried, held, longest} | ({7} if many else set())
    assert [job.held for job in found[held]] == [True]
    assert len({job.job_id for jobs in found.values() for job in jobs}) == sum(map(len, found.values()))


def test_a_look_costs_the_same_however_many_are_open(ledger: Ledger, session: Session) -> None:
    schedules = list(range(1, 101))
    cost = []
    for first, last in ((1, 20), (21, 400)):
        _jobs(ledger, schedules, first, last)
        _jobs(ledger, schedules, 10_000 + first, 10_000 + last, held=True)
        ledger.run("VACUUM ANALYZE jobs")
        statement = open_jobs.FEW_OPEN.replace("%(ids)s", f"'{array(schedules)}'")
        plan = session.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) {statement}")[0][0]
        root = (plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"]
        cost.append(root["Shared Hit Blocks"] + root["Shared Read Blocks"])
        assert root["Actual Rows"] == 2 * open_jobs.FEW * len(schedules)
    assert cost[1] < 1.5 * cost[0], cost


def test_thousands_of_held_jobs_follow_one_another(ledger: Ledger, dispatchers: Dispatchers) -> None:
    """What `catchup_policy: all` leaves after an outage: the next one goes out at once, whatever waits behind it."""
    schedule = ledger.schedule(due=None, frequency="interval", interval_seconds=1)
    _jobs(ledger, [schedule], 1, 20_000, held=True)
    dispatchers.start()
    released = "SELECT count(*) FROM jobs WHERE NOT held"
    eventually(lambda: ledger.one(released) == 1, 5)
    for ended in range(1, 4):
        ledger.run(
            "INSERT INTO run_claims (job_id, attempt, schedule_id, scheduled_for, worker, lease_until, ended_at)"
            " SELECT id, attempt, schedule_id, scheduled_for, 'w', now(), now() FROM jobs WHERE NOT held"
            " ON CONFLICT DO NOTHING"
        )
        eventually(lambda expected=ended + 1: ledger.one(released) == expected, 5)  # type: ignore[misc]
    oldest = ledger.run("SELECT held FROM jobs ORDER BY scheduled_for LIMIT 5")
    assert oldest == [(False,)] * 4 + [(True,)]
