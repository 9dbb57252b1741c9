"""Every rule of the monitor opens an issue and resolves it, on real data moved in time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from services.health.exposition import families
from shared.domain.health import Limits
from shared.storage import issues, monitor, snapshot
from shared.storage.database import Database
from tests.integration.health.support import Rows


@pytest.fixture
def rows(database_url: str) -> Iterator[Rows]:
    opened = Rows(database_url)
    opened("UPDATE leases SET holder = 'd', expires_at = 'infinity' WHERE name = 'dispatcher'")
    yield opened
    opened.close()


def schedule(rows: Rows, **values: Any) -> int:
    """A schedule created 30 days ago, due next in an hour."""
    columns = {"name": "S", "project_id": 1, "task_type": "analysis", "frequency": "daily"} | values
    names = ", ".join(columns)
    marks = ", ".join(["%s"] * len(columns))
    ((schedule_id,),) = rows(
        f"INSERT INTO schedules ({names}, created_at) VALUES ({marks}, now() - interval '30 days') RETURNING id",
        *columns.values(),
    )
    rows(
        "INSERT INTO schedule_timers (schedule_id, project_id, next_run_at) VALUES (%s, 1, now() + interval '1 hour')",
        schedule_id,
    )
    return int(schedule_id)


def statistics(rows: Rows, schedule_id: int, successes: int, failures: int, in_a_row: int = 0, days: float = 0) -> None:
    """Statistics of a schedule that last ran `days` ago."""
    rows("DELETE FROM schedule_statistics WHERE schedule_id = %s", schedule_id)
    rows(
        "INSERT INTO schedule_statistics (schedule_id, project_id, success_count, failure_count, consecutive_failures,"
        " last_run_at) VALUES (%s, 1, %s, %s, %s, now() - make_interval(secs => %s))",
        schedule_id, successes, failures, in_a_row, days * 86_400,
    )  # fmt: skip


def report(database: Database) -> list[tuple[str, str, int | None]]:
    """One report; the open issues as (kind, severity, schedule)."""
    with database.transaction() as connection:
        now = monitor.database_now(connection)
        findings, totals = monitor.survey(connection, Limits(), now)
        issues.note(connection, findings, totals, now, 0.1)
        return [(one.kind, one.severity, one.schedule_id) for one in issues.current(connection)]


def opens_and_resolves(rows: Rows, database: Database, expected: tuple[str, str, int | None], heal: str) -> None:
    """Silent at the first report, open at the second; healed, still open at the next, then resolved."""
    assert report(database) == []
    assert report(database) == [expected]
    assert report(database) == [expected]
    rows(heal)
    assert report(database) == [expected]
    assert report(database) == []
    assert rows("SELECT count(*) FROM health_issues WHERE resolved_at IS NOT NULL") == [(1,)]


def test_a_high_failure_rate(rows: Rows, database: Database) -> None:
    schedule_id = schedule(rows)
    statistics(rows, schedule_id, 4, 6)
    heal = "UPDATE schedule_statistics SET success_count = 60"
    opens_and_resolves(rows, database, ("high_failure_rate", "critical", schedule_id), heal)


def test_a_series_of_failures_with_the_band_as_severity(rows: Rows, database: Database) -> None:
    schedule_id = schedule(rows)
    statistics(rows, schedule_id, 97, 3, in_a_row=3)
    heal = "UPDATE schedule_statistics SET consecutive_failures = 0"
    opens_and_resolves(rows, database, ("consecutive_failures", "warning", schedule_id), heal)


def test_no_execution_for_a_week_though_an_occurrence_fell_due(rows: Rows, database: Database) -> None:
    schedule_id = schedule(rows)
    statistics(rows, schedule_id, 5, 0, days=8)
    rows("UPDATE schedule_timers SET last_claimed_for = now() - interval '2 days'")
    heal = "UPDATE schedule_statistics SET last_run_at = now()"
    opens_and_resolves(rows, database, ("stale", "warning", schedule_id), heal)


def test_never_executed_since_its_creation(rows: Rows, database: Database) -> None:
    schedule_id = schedule(rows)
    rows("UPDATE schedule_timers SET last_claimed_for = now() - interval '9 days'")
    opens_and_resolves(rows, database, ("stale", "warning", schedule_id), "UPDATE schedules SET enabled = false")


def test_overdue_whatever_the_dispatcher_says(rows: Rows, database: Database) -> None:
    schedule_id = schedule(rows)
    rows("UPDATE schedule_timers SET next_run_at = now() - interval '2 minutes'")
    heal = "UPDATE schedule_timers SET next_run_at = now() + interval '1 day'"
    opens_and_resolves(rows, database, ("overdue", "critical", schedule_id), heal)


def test_a_missing_leader(rows: Rows, database: Database) -> None:
    rows("UPDATE leases SET expires_at = now() - interval '1 minute' WHERE name = 'dispatcher'")
    heal = "UPDATE leases SET expires_at = 'infinity' WHERE name = 'dispatcher'"
    opens_and_resolves(rows, database, ("no_leader", "critical", None), heal)


def test_a_lease_from_before_the_clock_was_set_back_is_no_leader(rows: Rows, database: Database) -> None:
    rows("UPDATE leases SET expires_at = now() + interval '1 hour' WHERE name = 'dispatcher'")
    assert report(database) == []
    assert report(database) == [("no_leader", "critical", None)]


def test_what_is_gone_hides_nobody_who_is_stale(rows: Rows, database: Database) -> None:
    """A schedule that was deleted after a skip has an occurrence and no run after it, for ever."""
    rows(
        "INSERT INTO schedule_timers (schedule_id, project_id, last_claimed_for)"
        " SELECT 1_000_000 + i, 1, now() - interval '9 days' FROM generate_series(1, 5_000) AS i"
    )
    schedule_id = schedule(rows)
    rows("UPDATE schedule_timers SET last_claimed_for = now() - interval '2 days' WHERE schedule_id = %s", schedule_id)
    assert report(database) == []
    assert report(database) == [("stale", "warning", schedule_id)]


def test_every_open_issue_is_counted_however_many_there_are(rows: Rows, database: Database) -> None:
    rows(
        "INSERT INTO health_issues (kind, subject, severity, detail, since, opened_at, schedule_id)"
        " SELECT 'overdue', 'schedule ' || i, 'critical', 'late', now(), now(), i FROM generate_series(1, 1_500) AS i"
    )
    rows(
        "INSERT INTO health_issues (kind, subject, severity, detail, since, opened_at)"
        " VALUES ('no_leader', 'dispatcher', 'critical', 'nobody', now(), now())"
    )
    with database.transaction() as connection:
        figures = snapshot.figures(connection, 10)
    (family,) = [one for one in families(figures) if one.name == "commandcenter_health_open_issues"]
    found = {(one.labels["kind"], one.labels["severity"]): one.value for one in family.samples}
    assert found["overdue", "critical"] == 1_500
    assert found["no_leader", "critical"] == 1
    assert found["stale", "warning"] == 0


def test_missing_partitions(rows: Rows, database: Database, owner_url: str) -> None:
    owner = Rows(owner_url)
    owner("DO $$ BEGIN EXECUTE 'DROP TABLE jobs_' || to_char((now() AT TIME ZONE 'UTC')::date + 5, 'YYYYMMDD'); END $$")
    owner.close()
    heal = "SELECT ensure_partitions((now() AT TIME ZONE 'UTC')::date, (now() AT TIME ZONE 'UTC')::date + 8)"
    opens_and_resolves(rows, database, ("partitions_missing", "warning", None), heal)


@pytest.mark.parametrize(
    ("frequency", "days", "claimed", "running"),
    [
        ("weekly", 7.5, "- interval '7 days 13 hours'", False),  # ran then, nothing fell due since
        ("once", 8, "- interval '2 days'", False),
        ("daily", 6, "- interval '2 days'", False),
        ("weekly", 7.1, "- interval '2 hours'", True),  # runs right now
        ("weekly", 7.1, "- interval '5 minutes'", False),  # fell due a moment ago
    ],
)
def test_what_is_not_stale(
    rows: Rows, database: Database, frequency: str, days: float, claimed: str, running: bool
) -> None:
    schedule_id = schedule(rows, frequency=frequency)
    statistics(rows, schedule_id, 5, 0, days=days)
    rows(f"UPDATE schedule_timers SET last_claimed_for = now() {claimed}")
    if running:
        rows.jobs(1, schedules=1)
        rows("UPDATE jobs SET schedule_id = %s, status = 'running'", schedule_id)
    assert report(database) == []
    assert report(database) == []


def test_a_moment_is_no_issue_and_a_disabled_schedule_is_judged_by_nobody(rows: Rows, database: Database) -> None:
    schedule_id = schedule(rows)
    statistics(rows, schedule_id, 0, 12, in_a_row=12)
    assert report(database) == []
    rows("UPDATE schedules SET enabled = false")
    assert report(database) == []
    rows("UPDATE schedules SET enabled = true")
    assert report(database) == []  # two reports in a row, not two in all
    assert len(report(database)) == 2


def test_bands_of_all_schedules(rows: Rows, database: Database) -> None:
    for successes, failures in ((96, 4), (95, 5), (80, 20), (79, 21), (0, 0)):
        statistics(rows, schedule(rows), successes, failures)
    disabled = schedule(rows, enabled=False)
    rows("UPDATE schedule_timers SET next_run_at = NULL WHERE schedule_id = %s", disabled)
    report(database)
    with database.transaction() as connection:
        found = issues.last_report(connection)
    assert found is not None
    assert (found.schedules, found.bands) == (6, {"healthy": 1, "investigate": 2, "critical": 1, "unrated": 1})


def test_issues_are_announced_until_kafka_has_them(rows: Rows, database: Database) -> None:
    statistics(rows, schedule(rows), 0, 12, in_a_row=12)
    report(database)
    report(database)
    with database.transaction() as connection:
        assert len(issues.unannounced(connection)) == 2
        issues.announced(connection, [one.id for one, _ in issues.unannounced(connection)])
        assert issues.unannounced(connection) == []
    rows("UPDATE schedule_statistics SET success_count = 1000, consecutive_failures = 0")
    report(database)
    report(database)
    with database.transaction() as connection:
        waiting = issues.unannounced(connection)
        assert [known for _, known in waiting] == [True, True]
        assert all(one.resolved_at is not None for one, _ in waiting)


def test_a_report_is_short_even_for_one_that_never_resolves(rows: Rows, database: Database) -> None:
    for _ in range(5):
        rows(
            "UPDATE schedule_timers SET next_run_at = now() - interval '1 hour' WHERE schedule_id = %s", schedule(rows)
        )
    with database.transaction() as connection:
        now = monitor.database_now(connection) + timedelta(hours=1)
        assert len(monitor.overdue(connection, Limits(most=3), now)) == 3
