"""Hundreds of megabytes due at one instant, within a leader's short bounds."""

from __future__ import annotations

import json

import pytest

from tests.dispatching import Dispatchers, Ledger
from tests.waiting import eventually

pytestmark = pytest.mark.slow


def test_large_parameters_are_dispatched_and_retried_in_time(ledger: Ledger, dispatchers: Dispatchers) -> None:
    """Hundreds of megabytes at one instant: a turn that cannot end within the leader's bounds has less to do next."""
    ledger.schedule(due=None, cron_expression="0 * * * *", task_parameters=json.dumps({"text": "x" * 800_000}))
    count = 150
    columns = "project_id, name, task_type, task_parameters, frequency, cron_expression, overlap_policy"
    ledger.run(f"INSERT INTO schedules ({columns}) SELECT {columns} FROM schedules, generate_series(2, {count})")
    ledger.run("DELETE FROM schedule_timers")
    ledger.run("INSERT INTO schedule_timers (schedule_id, project_id, next_run_at) SELECT id, 1, now() FROM schedules")
    ledger.run(
        "INSERT INTO jobs (schedule_id, schedule_version, project_id, task_type, trigger, status, scheduled_for,"
        " max_attempts, next_attempt_at) SELECT id, 1, 1, task_type, 'manual', 'retrying', now(), 3, now()"
        " FROM schedules"
    )
    ledger.run("UPDATE schedules SET overlap_policy = 'allow'")
    dispatchers.start(COMMANDCENTER_DISPATCHER_LEASE_SECONDS="1")
    done = "SELECT count(*) FROM jobs WHERE status = 'queued'"
    eventually(lambda: ledger.one(done) == 2 * count and ledger.outbox_empty(), 100, poll=0.5)
