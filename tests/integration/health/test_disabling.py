"""Schedules whose window is over are disabled, each on its own."""

from __future__ import annotations

from services.health.disabling import Disabler
from shared.storage.database import Database
from tests.integration.health.support import NOW, Rows


def test_a_definition_that_makes_no_sense_any_more_is_disabled_and_keeps_no_other_from_its_turn(
    rows: Rows, database: Database
) -> None:
    for zone in ("Mars/Olympus_Mons", "UTC"):  # a zone may leave the database of zones
        ((schedule_id,),) = rows(
            "INSERT INTO schedules (project_id, name, task_type, frequency, timezone, end_time, pause_after_failures)"
            " VALUES (1, %s, 'analysis', 'daily', %s, now() - interval '1 hour', 2) RETURNING id",
            zone,
            zone,
        )
        rows("INSERT INTO schedule_timers (schedule_id, project_id) VALUES (%s, 1)", schedule_id)
    disabler = Disabler(database)
    disabler.cleanup_expired_schedules(NOW)
    assert rows("SELECT name, enabled FROM schedules ORDER BY id") == [("Mars/Olympus_Mons", False), ("UTC", False)]

    rows("UPDATE schedules SET enabled = true, end_time = NULL")
    rows("UPDATE schedule_timers SET next_run_at = now() - interval '1 minute'")
    disabler.pause({one: 2 for (one,) in rows("SELECT id FROM schedules")})
    assert rows("SELECT enabled FROM schedules") == [(False,), (False,)]
    assert rows("SELECT count(*) FROM jobs WHERE status = 'skipped' AND reason = 'disabled'") == [(2,)]
