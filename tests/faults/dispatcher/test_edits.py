"""Edits, disables, enables and deletes through the real api at the very instant of occurrences, thousands of times.

Every occurrence of an enabled schedule is a job or a skip, once; and nothing else is in the ledger.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.dispatching import Dispatchers, Ledger
from tests.services import Services
from tests.waiting import eventually

pytestmark = pytest.mark.slow

SCHEDULES = 24
ENOUGH = 2_000
"""Changes in all, however long a slow machine takes for them; `MOST_SECONDS` is for an api that hangs."""
MOST_SECONDS = 300
SECOND = timedelta(seconds=1)


class Client:
    """One connection that is kept."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """Status and body."""
        headers = {"Content-Type": "application/json"}
        self._connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None


def test_every_occurrence_is_a_job_or_a_skip(ledger: Ledger, dispatchers: Dispatchers, services: Services) -> None:
    dispatchers.start()
    api_port = services.start("api").port
    client = Client(api_port)
    parts = [[_create(client, number) for number in range(SCHEDULES // 4)] for _ in range(4)]
    deleted: list[int] = []
    changes: list[int] = []
    failures: list[object] = []
    threads = [
        threading.Thread(target=_disturb, args=(Client(api_port), part, deleted, changes, failures)) for part in parts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[:3]
    client = Client(api_port)  # the api has closed the idle connection
    remaining = [schedule for part in parts for schedule in part]
    for schedule in remaining:
        status, _ = client.call("DELETE", f"/api/v1/schedules/{schedule}")
        assert status == 204
    eventually(ledger.outbox_empty, 60)
    assert ledger.deadlocks() == 0
    assert len(changes) >= ENOUGH
    events = dispatchers.events("schedules")
    assert len(deleted) > 100
    for schedule in (*remaining, *deleted):
        mine = [event for event in events if event.key == str(schedule) and event.data is not None]
        assert _covered(ledger, schedule) == _expected(mine)


def _create(client: Client, number: int) -> int:
    body = {
        "project_id": 1,
        "name": f"Edited {number}",
        "task_type": "health_check",
        "frequency": "interval",
        "interval_seconds": 1,
        "overlap_policy": "allow",
        "catchup_policy": "all",
    }
    status, schedule = client.call("POST", "/api/v1/schedules", body)
    assert status == 201, schedule
    return int(schedule["id"])


def _disturb(
    client: Client, schedules: list[int], deleted: list[int], changes: list[int], failures: list[object]
) -> None:
    """Change schedules around full seconds, where all of them fall due; a fresh one takes a deleted one's place."""
    chance = random.Random(schedules[0])
    ends = time.monotonic() + MOST_SECONDS
    number = 0
    while len(changes) < ENOUGH and time.monotonic() < ends:
        to_second = 1 - time.time() % 1
        if to_second > 0.15:
            time.sleep(to_second - 0.15)
        for place, schedule in enumerate(schedules):
            number += 1
            kind = chance.choice(("edit", "edit", "edit", "disable", "disable", "enable", "enable", "enable", "delete"))
            path = f"/api/v1/schedules/{schedule}"
            if kind == "edit":
                answer = client.call("PATCH", path, {"end_time": f"2099-01-01T00:00:{number % 60:02}Z"})
            elif kind == "delete":
                answer = client.call("DELETE", path)
                deleted.append(schedule)
                schedules[place] = _create(client, number)
            else:
                answer = client.call("POST", f"{path}/{kind}")
            changes.append(answer[0])
            if answer[0] not in (200, 204):
                failures.append(answer)


def _covered(ledger: Ledger, schedule: int) -> list[datetime]:
    """Every occurrence in the ledger, ranges told apart, in order."""
    instants = []
    for job in ledger.jobs(schedule):
        first = datetime.fromisoformat(job["scheduled_for"])
        assert job["status"] in ("queued", "skipped", "cancelled")
        instants += [first + number * SECOND for number in range(job["skip_count"] or 1)]
    return sorted(instants)


def _expected(events: list[Any]) -> list[datetime]:
    """The full seconds during which the schedule was enabled, by its own change events."""
    instants: list[datetime] = []
    since: datetime | None = None
    for event in sorted(events, key=lambda one: one.data["version"]):
        at = datetime.fromisoformat(event.headers["ce_time"])
        after = event.data["after"]
        enabled = after is not None and after["enabled"]
        if enabled and since is None:
            since = at
        elif not enabled and since is not None:
            instant = since.replace(microsecond=0) + SECOND
            while instant <= at:
                instants.append(instant)
                instant += SECOND
            since = None
    return instants
