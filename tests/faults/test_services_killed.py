"""kill -9 of each service in turn under ten schedules of one second: it serves again, nothing missing or doubled."""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from tests.http import call
from tests.stack import Stack
from tests.waiting import eventually

SERVICES = ("api", "dispatcher", "worker", "health")
BACK_WITHIN = 15.0

pytestmark = pytest.mark.alone


def test_each_service_is_killed_and_nothing_is_lost_or_doubled(stack: Stack) -> None:
    schedules = [_create(stack, f"Every second {number}") for number in range(10)]
    eventually(lambda: _succeeded(stack) >= len(schedules), 20, "all run")
    for service in SERVICES:
        _kill_and_wait(stack, service)
    before = _succeeded(stack)
    eventually(lambda: _succeeded(stack) >= before + 2 * len(schedules), 30, "all run again")
    for schedule in schedules:
        status, _ = call(f"{stack.api_url}/api/v1/schedules/{schedule['id']}", method="DELETE")
        assert status == 204
    eventually(lambda: _open(stack) == 0, 60, "no job stays open")

    for schedule in schedules:
        _check_ledger(stack, schedule)


def _create(stack: Stack, name: str) -> dict[str, Any]:
    body = {
        "project_id": 1,
        "name": name,
        "task_type": "health_check",
        "frequency": "interval",
        "interval_seconds": 1,
        "catchup_policy": "all",
        "task_parameters": {"targets": [f"tcp://127.0.0.1:{stack.ports['dispatcher']}"]},
        "overlap_policy": "allow",
    }
    status, schedule = call(f"{stack.api_url}/api/v1/schedules", body)
    assert status == 201, schedule
    created: dict[str, Any] = schedule
    return created


def _kill_and_wait(stack: Stack, service: str) -> None:
    started = time.monotonic()
    killed = stack.kill(service)

    def serves() -> bool:
        try:
            return stack.pid(service) != killed and call(f"{stack.url(service)}/readyz", timeout=2)[0] == 200
        except OSError:
            return False

    eventually(serves, BACK_WITHIN, f"{service} serves again\n{stack.log_tails()}")
    assert time.monotonic() - started < BACK_WITHIN


def _rows(stack: Stack, query: str, **values: Any) -> list[Any]:
    engine = create_engine(stack.database_url)
    try:
        with engine.connect() as connection:
            return list(connection.execute(text(query), values))
    finally:
        engine.dispose()


def _succeeded(stack: Stack) -> int:
    return int(_rows(stack, "SELECT count(*) FROM jobs WHERE status = 'succeeded'")[0][0])


def _open(stack: Stack) -> int:
    return int(_rows(stack, "SELECT count(*) FROM jobs WHERE status IN ('queued', 'running', 'retrying')")[0][0])


def _check_ledger(stack: Stack, schedule: dict[str, Any]) -> None:
    """Every second from the first to the last is exactly one job or lies in a skip's range; each ran at most once."""
    jobs = _rows(
        stack,
        "SELECT scheduled_for, skip_until, status FROM jobs WHERE schedule_id = :id AND trigger <> 'manual'",
        id=schedule["id"],
    )
    covered: Counter[datetime] = Counter()
    for job in jobs:
        instant = job.scheduled_for
        while instant <= (job.skip_until or job.scheduled_for):
            covered[instant] += 1
            instant += timedelta(seconds=1)
    first, last = min(covered), max(covered)
    expected = {first + timedelta(seconds=n) for n in range(int((last - first).total_seconds()) + 1)}
    assert set(covered) == expected, sorted(expected - set(covered))
    assert set(covered.values()) == {1}
    statistics = _rows(
        stack, "SELECT success_count, failure_count FROM schedule_statistics WHERE schedule_id = :id", id=schedule["id"]
    )[0]
    ended = Counter(job.status for job in jobs)
    assert (statistics.success_count, statistics.failure_count) == (ended["succeeded"], ended["failed"])
