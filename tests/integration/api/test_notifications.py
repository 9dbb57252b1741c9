"""What the api tells the dispatcher's tick: the instant that a timer was moved to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

import psycopg2
import pytest

from deploy.local.postgres import libpq_url
from shared.storage.outbox import DUE_CHANNEL
from tests.integration.api.support import Api


@pytest.fixture
def told(api: Api) -> Iterator[Callable[[], list[datetime]]]:
    """What was told since the last call."""
    connection = psycopg2.connect(libpq_url(api.database_url))
    connection.autocommit = True
    connection.cursor().execute(f"LISTEN {DUE_CHANNEL}")

    def payloads() -> list[datetime]:
        connection.cursor().execute("SELECT 1")  # what was committed before has arrived by the end of a statement
        instants = [datetime.fromisoformat(one.payload) for one in connection.notifies]
        connection.notifies.clear()
        return instants

    yield payloads
    connection.close()


def test_creations_and_moves_tell_where_the_timer_is(api: Api, told: Callable[[], list[datetime]]) -> None:
    made = api.create(jitter_seconds=600)
    stored = "SELECT next_run_at FROM schedule_timers WHERE schedule_id = %s"
    assert told() == list(api.rows(stored, made["id"])[0]), "with its jitter"
    path = f"/api/v1/schedules/{made['id']}"
    assert api.client.patch(path, json={"frequency": "hourly"}).status_code == 200
    assert told() == list(api.rows(stored, made["id"])[0])
    assert api.client.patch(path, json={"name": "Another name"}).status_code == 200
    assert told() == []
    api.create(enabled=False)
    assert told() == []
