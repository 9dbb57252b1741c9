"""Schedules whose window is over are disabled, each on its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.health.disabling import Disabler
from shared.storage.database import Database
from tests.integration.health.support import NOW, Rows


@pytest.fixture
def rows(database_url: str) -> Iterator[Rows]:
    opened = Rows(database_url)
    yield opened
    opened.close()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url, application="test")
    yield opened
    opened.close()


def test_a_definition_that_makes_no_sense_keeps_no_other_from_its_turn(
    rows: Rows, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    for zone in ("Mars/Olympus_Mons", "UTC"):  # a zone may leave the database of zones
        ((schedule_id,),) = rows(
            "INSERT INTO schedules (project_id, name, task_type, frequency, timezone, end_time)"
            " VALUES (1, %s, 'analysis', 'daily', %s, now() - interval '1 hour') RETURNING id",
            zone,
            zone,
        )
        rows("INSERT INTO schedule_timers (schedule_id, project_id) VALUES (%s, 1)", schedule_id)
    Disabler(database).cleanup_expired_schedules(NOW)
    assert rows("SELECT name, enabled FROM schedules ORDER BY id") == [("Mars/Olympus_Mons", True), ("UTC", False)]
