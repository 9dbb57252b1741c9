"""Jobs that should run again do, and jobs that should stop do, whoever freezes or dies in between. The whole system."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.dispatching import Ledger
from tests.http import call
from tests.integration.worker.bench_of_runs import installed
from tests.servers import TestServers
from tests.stack import Stack
from tests.waiting import eventually

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def stack(test_servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Short leases, and a team's own task types."""
    url = test_servers.create_database(migrated=True)
    home = tmp_path_factory.mktemp("stopped")
    environment = {
        "COMMANDCENTER_DATABASE_URL": url,
        "COMMANDCENTER_MIGRATIONS_DATABASE_URL": test_servers.owner_url(url),
        "COMMANDCENTER_KAFKA_BOOTSTRAP_SERVERS": test_servers.kafka(),
        "COMMANDCENTER_TOPIC_PREFIX": "stopped.",
        "COMMANDCENTER_WORKER_LEASE_SECONDS": "2",
        "COMMANDCENTER_WORKER_HEARTBEAT_SECONDS": "0.5",
        "PYTHONPATH": installed(home / "plugged-in"),
    }
    with Stack(home / "home", environment) as running:
        yield running
    test_servers.drop_database(url)


@pytest.fixture
def ledger(stack: Stack) -> Iterator[Ledger]:
    made = Ledger(stack.database_url)
    yield made
    made.close()


def _run(stack: Stack, task_type: str, **fields: Any) -> int:
    """Make a schedule and run it once; returns the job."""
    body = {
        "project_id": 1,
        "name": task_type,
        "task_type": task_type,
        "frequency": "daily",
        "enabled": False,
        **fields,
    }
    status, schedule = call(f"{stack.api_url}/api/v1/schedules", body)
    assert status == 201, schedule
    status, executed = call(f"{stack.api_url}/api/v1/schedules/{schedule['id']}/execute", {"force": True})
    assert status == 202, executed
    return int(executed["job_id"])


def _job(stack: Stack, job: int) -> dict[str, Any]:
    status, found = call(f"{stack.api_url}/api/v1/jobs/{job}")
    assert status == 200, found
    shown: dict[str, Any] = found
    return shown


def _is(stack: Stack, job: int, status: str, attempt: int, seconds: float = 20) -> None:
    expected = (status, attempt)
    eventually(lambda: _state(stack, job) == expected, seconds, f"job {job} is {status} at attempt {attempt}", 0.05)


def _state(stack: Stack, job: int) -> tuple[str, int]:
    shown = _job(stack, job)
    return shown["status"], shown["attempt"]


def _cancel(stack: Stack, job: int) -> None:
    status, answer = call(f"{stack.api_url}/api/v1/jobs/{job}/cancel", {})
    assert status == 202, answer


def test_a_frozen_worker_that_wakes_does_not_take_the_retry_along(stack: Stack, ledger: Ledger) -> None:
    """It stops the attempt it has lost, and says so: the job had failed before that, and is tried again."""
    job = _run(stack, "wait", task_parameters={"seconds": 20}, max_attempts=2, retry_first_seconds=12)
    _is(stack, job, "running", 1)
    worker = stack.signal("worker", signal.SIGSTOP)
    try:
        _is(stack, job, "retrying", 1)
    finally:
        os.kill(worker, signal.SIGCONT)
    late = "SELECT count(*) FROM audit_log WHERE job_id = %(id)s AND action = 'run.late'"
    eventually(lambda: ledger.one(late, {"id": job}), 10, "the worker's word came late")
    _is(stack, job, "running", 2)
    _cancel(stack, job)
    _is(stack, job, "cancelled", 2)


def test_a_cancelled_job_stays_cancelled_when_its_worker_dies(stack: Stack) -> None:
    job = _run(stack, "wait", task_parameters={"seconds": 600}, max_attempts=3, retry_first_seconds=1)
    _is(stack, job, "running", 1)
    stack.signal("worker", signal.SIGSTOP)  # it will not hear of the request
    _cancel(stack, job)
    stack.kill("worker")
    _is(stack, job, "cancelled", 1)


def test_a_job_is_cancelled_between_its_failure_and_the_record_of_it(stack: Stack, ledger: Ledger) -> None:
    """Health is behind: the job looks queued, has failed, and will be tried again."""
    health = stack.signal("health", signal.SIGSTOP)
    try:
        job = _run(stack, "fail", max_attempts=3, retry_first_seconds=1)
        failed = "SELECT will_retry FROM run_claims WHERE job_id = %(id)s AND ended_at IS NOT NULL"
        eventually(lambda: ledger.one(failed, {"id": job}), 15)
        _cancel(stack, job)
    finally:
        os.kill(health, signal.SIGCONT)
    _is(stack, job, "cancelled", 2)
    assert (
        ledger.one("SELECT count(*) FROM run_claims WHERE job_id = %(id)s AND begun_at IS NOT NULL", {"id": job}) == 1
    )
