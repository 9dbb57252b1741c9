"""Nobody records outcomes for a minute: schedules go on, and overlap is still judged by what really runs."""

from __future__ import annotations

import json
import time

import pytest

from tests.dispatching import Dispatchers, Ledger
from tests.services import Services
from tests.waiting import eventually

pytestmark = pytest.mark.slow

SCHEDULES = 10
EVERY = 2
DOWN = 60.0
OPEN = "SELECT count(*) FROM jobs WHERE status IN ('queued', 'running', 'retrying')"


def test_health_is_down_for_a_minute_and_no_occurrence_is_skipped_for_it(
    ledger: Ledger, dispatchers: Dispatchers, services: Services
) -> None:
    """Runs that have ended look open in the ledger meanwhile; the workers' claims know better."""
    port = dispatchers.start().port
    services.start("worker")
    health = services.start("health")
    target = json.dumps({"targets": [f"tcp://127.0.0.1:{port}"]})
    short = [_every(ledger, target) for _ in range(SCHEDULES)]
    eventually(lambda: all(_succeeded(ledger, one) >= 2 for one in short), 40, "all run and are recorded")
    health.process.kill()
    health.process.wait(10)
    before = {one: len(ledger.on_time(one)) for one in short}
    recorded = ledger.one("SELECT count(*) FROM jobs WHERE status = 'succeeded'")
    time.sleep(DOWN)  # the minute itself is what is tested
    assert ledger.one("SELECT count(*) FROM jobs WHERE status = 'succeeded'") == recorded, "nobody records"
    for one in short:
        jobs = ledger.on_time(one)
        assert len(jobs) - before[one] >= DOWN / EVERY - 2
        assert not [job for job in jobs if job["status"] == "skipped"]
    services.start("health")
    ledger.run("UPDATE schedule_timers SET next_run_at = NULL")
    eventually(lambda: ledger.one(OPEN) == 0, 40, "everything is recorded")
    for one in short:
        assert {job["status"] for job in ledger.on_time(one)} == {"succeeded"}


def _every(ledger: Ledger, parameters: str) -> int:
    return ledger.schedule(
        frequency="interval",
        interval_seconds=EVERY,
        overlap_policy="skip",
        task_parameters=parameters,
        due="date_trunc('second', now()) + '2 s'",
    )


def _succeeded(ledger: Ledger, schedule: int) -> int:
    return sum(job["status"] == "succeeded" for job in ledger.jobs(schedule))
