"""Kafka stops: the api answers every write as before, and what it promised is published and audited once Kafka is back.

The dispatcher and the health service run too: it is their part that the events arrive.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.kafka import KafkaServer
from deploy.local.ports import free_ports
from deploy.local.settings import read_settings
from tests.http import call
from tests.servers import TestServers
from tests.stack import Stack
from tests.topics import read_all
from tests.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.alone]
PREFIX = "nokafka."


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[KafkaServer]:
    """A Kafka that this test may kill."""
    cache = read_settings(os.environ).cache
    with KafkaServer(tmp_path / "kafka", free_ports(2)[0], cache=cache, heap="384m") as server:
        yield server


@pytest.fixture
def running(test_servers: TestServers, kafka: KafkaServer, tmp_path: Path) -> Iterator[Stack]:
    """The four services on that Kafka."""
    url = test_servers.create_database(migrated=True)
    environment = {
        "COMMANDCENTER_DATABASE_URL": url,
        "COMMANDCENTER_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "COMMANDCENTER_TOPIC_PREFIX": PREFIX,
    }
    with Stack(tmp_path / "home", environment) as stack:
        yield stack
    test_servers.drop_database(url)


def test_writes_answer_as_before_and_their_events_arrive_afterwards(running: Stack, kafka: KafkaServer) -> None:
    with_kafka = _write_everything(running, "with Kafka")
    eventually(lambda: _audited(running, with_kafka) == 6, 30, "audited")
    kafka.kill()
    eventually(lambda: call(f"{running.url('dispatcher')}/readyz")[0] == 503, 60, "the dispatcher notices")
    assert call(f"{running.api_url}/readyz")[0] == 200
    without = _write_everything(running, "without Kafka")
    assert without["statuses"] == with_kafka["statuses"]
    assert without["seconds"] < 5, "no write waits for Kafka"
    assert _audited(running, without) == 0
    kafka.start()
    eventually(lambda: _audited(running, without) == 6, 60, f"audited once Kafka is back\n{running.log_tails()}")

    seen = read_all(kafka.bootstrap_servers, [f"{PREFIX}schedules", f"{PREFIX}runs.requests"])
    mine = [one.headers["ce_type"].split(".")[2] for one in seen if one.key == str(without["id"]) and one.data]
    assert sorted(mine) == ["created", "deleted", "disabled", "enabled", "requested", "updated"]


def _write_everything(stack: Stack, name: str) -> dict[str, Any]:
    """Create, update, disable, enable, execute, delete: the id, the answers' statuses, and how long it took."""
    started = time.monotonic()
    body = {"project_id": 1, "name": name, "task_type": "health_check", "frequency": "daily", "task_parameters": {}}
    status, made = call(f"{stack.api_url}/api/v1/schedules", body)
    url = f"{stack.api_url}/api/v1/schedules/{made['id']}"
    statuses = [
        status,
        call(url, {"frequency": "weekly"}, "PATCH")[0],
        call(f"{url}/disable", method="POST")[0],
        call(f"{url}/enable", method="POST")[0],
        call(f"{url}/execute", {"force": True})[0],
        call(url, method="DELETE")[0],
    ]
    assert statuses == [201, 200, 200, 200, 202, 204]
    return {"id": made["id"], "statuses": statuses, "seconds": time.monotonic() - started}


def _audited(stack: Stack, written: dict[str, Any]) -> int:
    """How many of those six writes are in the audit log, under their caller."""
    _, found = call(f"{stack.api_url}/api/v1/audit?schedule_id={written['id']}&actor=anonymous")
    return len(found["entries"])
