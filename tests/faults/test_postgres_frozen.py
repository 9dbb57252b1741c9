"""PostgreSQL is frozen: its machine acknowledges every byte and nobody answers. Every service says so, and goes on."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from deploy.local.ports import free_ports
from deploy.local.postgres import PostgresServer
from deploy.local.settings import SERVICES
from tests.http import call
from tests.servers import TestServers
from tests.stack import Stack
from tests.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.alone]
FROZEN_SECONDS = 12.0


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL that this test may freeze."""
    with PostgresServer(tmp_path / "postgres", free_ports(1)[0], shared_buffers="64MB") as server:
        yield server


@pytest.fixture
def running(test_servers: TestServers, postgres: PostgresServer, tmp_path: Path) -> Iterator[Stack]:
    """The four services on that PostgreSQL."""
    environment = {
        "COMMANDCENTER_DATABASE_URL": postgres.database_url,
        "COMMANDCENTER_MIGRATIONS_DATABASE_URL": postgres.owner_url,
        "COMMANDCENTER_KAFKA_BOOTSTRAP_SERVERS": test_servers.kafka(),
        "COMMANDCENTER_TOPIC_PREFIX": f"frozen{uuid.uuid4().hex[:8]}.",
    }
    with Stack(tmp_path / "home", environment) as stack:
        yield stack


def test_every_service_says_so_and_goes_on(running: Stack, postgres: PostgresServer) -> None:
    schedule = _due_meanwhile(running)
    pids = {service: running.pid(service) for service in SERVICES}
    assert "this dispatcher leads" in _readyz(running, "dispatcher")[1]["leader"]
    with ThreadPoolExecutor(1) as caller:
        postgres.pause()
        thaw_at = time.monotonic() + FROZEN_SECONDS
        try:
            caught = caller.submit(call, f"{running.api_url}/api/v1/schedules/{schedule}", timeout=60)
            for service in SERVICES:
                eventually(lambda one=service: _says_so(running, one), 8, f"{service} says so")  # type: ignore[misc]
            assert "leads" not in _readyz(running, "dispatcher")[1]["leader"]
            refused = httpx2.get(f"{running.api_url}/api/v1/schedules", timeout=2)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
            assert all(call(f"{running.url(service)}/livez", timeout=2)[0] == 200 for service in SERVICES)
            time.sleep(max(0.0, thaw_at - time.monotonic()))  # the freeze itself is what is tested
        finally:
            postgres.resume()
        assert caught.result(30)[0] == 200, "what was under way is answered late, not lost"
    for service in SERVICES:
        eventually(lambda one=service: _readyz(running, one)[0] == 200, 20, f"{service} is ready again")  # type: ignore[misc]
    assert "this dispatcher leads" in _readyz(running, "dispatcher")[1]["leader"]
    eventually(lambda: [one["status"] for one in _jobs(running, schedule)] == ["succeeded"], 30, running.log_tails())
    assert {service: running.pid(service) for service in SERVICES} == pids, "none was started again"


def _due_meanwhile(stack: Stack) -> int:
    """A schedule whose one occurrence falls into the freeze."""
    body = {
        "project_id": 1,
        "name": "while frozen",
        "task_type": "health_check",
        "frequency": "once",
        "start_time": (datetime.now(UTC) + timedelta(seconds=6)).isoformat(),
        "task_parameters": {"targets": [f"tcp://127.0.0.1:{stack.ports['dispatcher']}"]},
    }
    status, schedule = call(f"{stack.api_url}/api/v1/schedules", body)
    assert status == 201, schedule
    return int(schedule["id"])


def _readyz(stack: Stack, service: str) -> tuple[int, dict[str, Any]]:
    """The answer of a service's /readyz, which is there within two seconds whatever happens."""
    return call(f"{stack.url(service)}/readyz", timeout=2)


def _says_so(stack: Stack, service: str) -> bool:
    status, body = _readyz(stack, service)
    return status == 503 and any("PostgreSQL has not answered for" in one for one in body["checks"].values())


def _jobs(stack: Stack, schedule: int) -> list[dict[str, Any]]:
    _, found = call(f"{stack.api_url}/api/v1/jobs?schedule_id={schedule}")
    jobs: list[dict[str, Any]] = found["jobs"]
    return jobs
