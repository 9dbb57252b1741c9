"""What is old goes, what is young or in use stays, and nothing that is in the way of one keeps the others."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime, timedelta

import psycopg2
import pytest

from services.health.duty import NotYet
from services.health.retention import Periods, Retention
from services.health.settings import Settings
from services.health.wiring import periods_of
from shared.storage import retention
from shared.storage.database import Database
from tests.integration.health.support import NOW, Rows

_INSERTS = {
    "run_claims": "(job_id, attempt, schedule_id, scheduled_for, worker, claimed_at, ended_at, lease_until)"
    " VALUES (nextval('job_ids'), 1, 1, {0}, 'w', {0}, {0}, {0})",
    "batch_progress": "(job_id, place, attempt, status, permanent, duration_seconds, ended_at)"
    " VALUES (nextval('job_ids'), 1, 1, 'succeeded', true, 1, {0})",
    "webhook_deliveries": "(webhook_id, project_id, schedule_id, job_id, attempt, message_id, event, url, sent_at)"
    " VALUES (1, 1, 1, 1, 1, 'm', 'e', 'u', {0})",
    "dead_letters": "(kafka_partition, kafka_offset, put_aside_at, reason, consumer, truncated, headers)"
    " VALUES (0, nextval('job_ids'), {0}, 'r', 'c', false, '[]')",
    "dead_letter_resends": "(letter_id, resent_at, resent_by) VALUES (1, {0}, 'a')",
    "health_issues": "(kind, subject, severity, detail, since, opened_at, resolved_at)"
    " VALUES ('stale', 's', 'warning', 'd', {0}, {0}, {0})",
    "health_reports": "(reported_at, duration_seconds, schedules, bands) VALUES ({0}, 1, 1, '{{}}')",
}


def add(rows: Rows, table: str, days: int, number: int = 1) -> None:
    """Rows that are so old."""
    columns, values = _INSERTS[table].split(" VALUES ")
    selected = values.format(f"now() - interval '{days} days'").removeprefix("(").removesuffix(")")
    rows(f"INSERT INTO {table} {columns} SELECT {selected} FROM generate_series(1, {number})")


def nothing_expires(_before: date, _kept: Collection[date]) -> int:
    return 0


def test_every_table_keeps_what_is_younger_than_its_setting(rows: Rows, database: Database, database_url: str) -> None:
    periods = periods_of(Settings(database_url=database_url))
    assert set(periods.rows) == set(_INSERTS)
    for table in _INSERTS:
        for days in (periods.rows[table] + 1, periods.rows[table] - 1):
            add(rows, table, days)
    rows(
        "INSERT INTO health_issues (kind, subject, severity, detail, since)"
        " VALUES ('stale', 'open', 'warning', 'd', now())"
    )
    Retention(database, periods, nothing_expires).run(NOW)
    left = {table: rows(f"SELECT count(*) FROM {table}")[0][0] for table in _INSERTS}
    assert left == {table: 2 if table == "health_issues" else 1 for table in _INSERTS}


def test_a_large_table_is_walked_once_in_steps_and_open_claims_stay(rows: Rows, database: Database) -> None:
    rows(
        "INSERT INTO run_claims"
        " (job_id, attempt, schedule_id, scheduled_for, worker, claimed_at, ended_at, lease_until)"
        " SELECT i, 1, 1, at, 'w', at, CASE WHEN i %% 1_000 <> 0 THEN at END, at FROM generate_series(1, 12_000) AS i,"
        " LATERAL (SELECT now() - make_interval(days => CASE WHEN i <= 11_000 THEN 20 ELSE 1 END) AS at) AS t",
        (),
    )
    before, after = NOW - timedelta(days=16), None
    steps: list[int] = []
    while not steps or after is not None:
        with database.transaction() as connection:
            deleted, after = retention.delete_rows(connection, "run_claims", before, after)
        steps.append(deleted)
    assert steps == [4_995, 4_995, 999]
    assert rows("SELECT count(*) FROM run_claims WHERE ended_at IS NULL") == [(12,)]
    assert rows("SELECT count(*) FROM run_claims WHERE claimed_at > now() - interval '2 days'") == [(1_000,)]


def test_no_step_looks_at_more_than_its_rows(rows: Rows, database: Database) -> None:
    """Whatever the statistics say: a step that reads the whole table does not end within its time on a large one."""
    for table in ("run_claims", "webhook_deliveries"):
        add(rows, table, 40, 30_000)
    with database.transaction() as connection:
        for table in ("run_claims", "webhook_deliveries"):
            deleted, _ = retention.delete_rows(connection, table, NOW - timedelta(days=30), None)
            assert deleted == 5_000
        connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")
    assert rows(
        "SELECT sum(seq_scan) FROM pg_stat_user_tables WHERE relname IN ('run_claims', 'webhook_deliveries')"
    ) == [(0,)]


def test_a_day_behind_a_backup_is_dropped_when_it_is_over_and_keeps_no_other_back(
    rows: Rows, database: Database, database_url: str
) -> None:
    days = [NOW.date() - timedelta(days=back) for back in (101, 100)]
    for day in days:
        rows("SELECT ensure_partitions(%s, %s)", day, day)
    add(rows, "run_claims", 20)
    expired: list[tuple[date, set[date]]] = []

    def expire(before: date, kept: Collection[date]) -> int:
        expired.append((before, set(kept)))
        return 0

    task = Retention(database, Periods(jobs=90, audit=400, artifacts=90, rows={"run_claims": 16}), expire)
    backup = psycopg2.connect(database_url.replace("+psycopg2", ""))
    with backup.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM jobs")
        with pytest.raises(NotYet, match=f"jobs_{days[0]:%Y%m%d} stays"):
            task.run(NOW)
    assert rows("SELECT count(*) FROM run_claims") == [(0,)]
    assert expired == [((NOW - timedelta(days=90)).date(), set(days))], "files of jobs that stayed stay"
    backup.close()
    task.run(NOW)
    assert [rows("SELECT to_regclass(%s)", f"jobs_{day:%Y%m%d}") for day in days] == [[(None,)], [(None,)]]
    assert expired[1][1] == set()


def test_files_are_kept_where_jobs_may_still_be_written(rows: Rows, database: Database) -> None:
    day = NOW.date() - timedelta(days=150)
    rows("SELECT ensure_partitions(%s, %s)", day, day)
    rows(
        "INSERT INTO jobs (schedule_id, schedule_version, project_id, task_type, trigger, status, scheduled_for)"
        " VALUES (1, 1, 1, 'analysis', 'schedule', 'queued', %s)",
        datetime(day.year, day.month, day.day, 12, tzinfo=NOW.tzinfo),
    )
    rows(
        "INSERT INTO schedules (project_id, name, task_type, frequency, catchup_window_seconds)"
        " VALUES (1, 'rarely', 'analysis', 'monthly', %s)",
        100 * 86_400,
    )
    expired: list[tuple[date, set[date]]] = []

    def expire(before: date, kept: Collection[date]) -> int:
        expired.append((before, set(kept)))
        return 0

    Retention(database, Periods(jobs=90, audit=400, artifacts=90), expire).run(NOW)
    assert expired == [((NOW - timedelta(days=101)).date(), {day})]
