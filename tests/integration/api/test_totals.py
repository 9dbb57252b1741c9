"""Totals of job and audit lists: exact while few, from maintained counts when many; and lists in order."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from sqlalchemy import text

from services.health.counting import Counting
from shared.storage import counts, retention
from shared.storage.audit_queries import AuditFilter
from shared.storage.audit_queries import list_page as list_audit
from shared.storage.database import Database
from shared.storage.filters import MOST_COUNTED
from shared.storage.job_queries import JobFilter, page_statement
from shared.storage.job_queries import list_page as list_jobs

NOW = datetime.now(UTC)
TODAY = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
_JOBS = """
INSERT INTO jobs (schedule_id, schedule_version, project_id, task_type, trigger, status, scheduled_for)
SELECT i, 1, 1 + i %% 2, 'analysis', 'schedule', CASE WHEN i %% 100 = 0 THEN 'failed' ELSE 'succeeded' END,
    '{day}'::timestamptz + i * interval '1 millisecond' FROM generate_series(1, {number}) AS i
"""
_MIXED = """
INSERT INTO jobs (schedule_id, schedule_version, project_id, task_type, trigger, status, scheduled_for)
SELECT 1 + i %% 40, 1, 1 + i %% 3, (ARRAY['analysis', 'export'])[1 + i %% 2],
    (ARRAY['schedule', 'manual'])[1 + i %% 5 / 4],
    (ARRAY['succeeded', 'failed', 'queued', 'running', 'skipped'])[1 + i %% 7 %% 5],
    now() - i * interval '97 seconds' FROM generate_series(1, 2000) AS i
"""
_AUDIT = """
INSERT INTO audit_log (at, event_id, action, actor, project_id, schedule_id, chain, place, previous_hash, hash)
SELECT '{day}'::timestamptz + i * interval '1 millisecond', 'e' || i,
    CASE WHEN i %% 100 = 0 THEN 'run.failed' ELSE 'run.succeeded' END, 'worker', 1 + i %% 2, i, 'c', i, '', ''
FROM generate_series(1, {number}) AS i
"""


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url, application="test")
    yield opened
    opened.close()


def run(database: Database, *statements: str) -> None:
    with database.transaction() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def jobs_total(database: Database, **wanted: object) -> int:
    with database.transaction() as connection:
        return list_jobs(connection, JobFilter(**wanted), 1, 50)[1]  # type: ignore[arg-type]


def audit_total(database: Database, **wanted: object) -> int:
    with database.transaction() as connection:
        return list_audit(connection, AuditFilter(**wanted), 1, 50)[1]  # type: ignore[arg-type]


def count(database: Database) -> None:
    run(database, "SELECT pg_stat_force_next_flush()", "SELECT 1")
    Counting(database).run(NOW)


def test_a_total_is_exact_while_it_is_small(database: Database) -> None:
    run(database, _JOBS.format(day=TODAY, number=MOST_COUNTED), _AUDIT.format(day=TODAY, number=MOST_COUNTED))
    assert jobs_total(database) == audit_total(database) == MOST_COUNTED
    assert jobs_total(database, status="failed") == audit_total(database, action="run.failed") == MOST_COUNTED // 100
    assert jobs_total(database, project_ids=[1]) == audit_total(database, project_ids=[1]) == MOST_COUNTED // 2
    assert jobs_total(database, until=TODAY + timedelta(milliseconds=77)) == 77


def test_counts_of_a_while_ago_prove_nothing_of_what_is_open_now(database: Database) -> None:
    """25,000 jobs were queued when they were counted, and workers have begun all but sixty since."""
    run(database, _JOBS.format(day=TODAY, number=25_000), "UPDATE jobs SET status = 'queued'")
    count(database)
    assert jobs_total(database, status="queued") == 25_000
    run(database, "UPDATE jobs SET status = 'running' WHERE schedule_id > 60")
    assert jobs_total(database, status="queued") == 60
    with database.transaction() as connection:
        assert [len(list_jobs(connection, JobFilter(status="queued"), page, 50)[0]) for page in (1, 2, 3)] == [
            50,
            10,
            0,
        ]


def test_a_page_behind_everything_is_empty_without_a_look_at_everything(database: Database) -> None:
    number = 12_000
    run(database, _JOBS.format(day=TODAY, number=number), _AUDIT.format(day=TODAY, number=number))
    for _ in range(2):  # before and after health has counted
        with database.transaction() as connection:
            for found, total in (
                list_jobs(connection, JobFilter(), 1_000_000, 100),
                list_audit(connection, AuditFilter(), 1_000_000, 100),
            ):
                assert (list(found), total) in (([], MOST_COUNTED + 1), ([], number))
            assert len(list_jobs(connection, JobFilter(), 120, 100)[0]) == 100
            assert len(list_audit(connection, AuditFilter(), 120, 100)[0]) == 100
        count(database)


def test_a_long_lists_total_comes_from_the_counts(database: Database) -> None:
    yesterday, number = TODAY - timedelta(days=1), 50_000
    run(database, _JOBS.format(day=yesterday, number=number), _AUDIT.format(day=yesterday, number=number))
    assert jobs_total(database) == audit_total(database) == MOST_COUNTED + 1  # "more": nobody has counted yet
    count(database)
    assert jobs_total(database) == audit_total(database) == number
    assert jobs_total(database, project_ids=[1]) == audit_total(database, project_ids=[1]) == number // 2
    assert jobs_total(database, project_ids=[1, 2]) == audit_total(database, project_ids=[1, 2]) == number
    assert jobs_total(database, status="succeeded") == audit_total(database, action="run.succeeded") == 49_500
    assert jobs_total(database, status="failed", project_ids=[1]) == 500
    assert jobs_total(database, since=TODAY) == 0
    half = jobs_total(database, since=yesterday + timedelta(hours=12), until=TODAY)
    assert half == 0  # the page itself shows that there is nothing
    assert jobs_total(database, schedule_id=7) == 1


def test_counts_follow_changes_and_leave_with_their_partition(database: Database) -> None:
    day = TODAY - timedelta(days=2)
    partition = f"jobs_{day:%Y%m%d}"
    run(database, _JOBS.format(day=day, number=30_000))
    count(database)
    run(database, "UPDATE jobs SET status = 'failed' WHERE schedule_id <= 25000")
    run(database, "UPDATE counted_partitions SET counted_at = counted_at - interval '1 hour'")
    assert jobs_total(database, status="failed") == MOST_COUNTED + 1
    count(database)
    assert jobs_total(database, status="failed") == 25_050
    with database.transaction() as connection:
        assert counts.stale(connection, "jobs") == []
        assert retention.drop(connection, "jobs", partition)
    assert jobs_total(database) == 0
    with database.transaction() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM job_counts").scalar_one() == 0
        assert connection.exec_driver_sql("SELECT count(*) FROM counted_partitions").scalar_one() == 0


def test_a_day_that_is_too_slow_to_count_keeps_no_other_back_and_is_let_alone_for_a_while(
    database: Database, database_url: str
) -> None:
    run(database, _JOBS.format(day=TODAY, number=30_000), _AUDIT.format(day=TODAY, number=30_000))
    run(database, "SELECT pg_stat_force_next_flush()", "SELECT 1")
    locked = Database(database_url, application="test")
    hasty = Database(database_url, application="test", statement_timeout_ms=500)
    with locked.transaction() as connection:
        connection.exec_driver_sql("LOCK TABLE job_counts")
        Counting(hasty).run(NOW)
        assert audit_total(database) == 30_000
        Counting(hasty).run(NOW)  # not tried again at once: that would wait for the lock
    with database.transaction() as connection:
        assert counts.stale(connection, "jobs") == []
        connection.exec_driver_sql("UPDATE counted_partitions SET counted_at = counted_at - interval '1 hour'")
    Counting(hasty).run(NOW)
    assert jobs_total(database) == 30_000
    for opened in (locked, hasty):
        opened.close()


def test_lists_hold_what_fits_in_order_whatever_is_asked(database: Database) -> None:
    """Against a filter in Python, over many combinations and pages."""
    run(database, _MIXED)
    random = Random(7)
    choices: dict[str, list[Any]] = {
        "project_ids": [[1], [2, 3], [4]],
        "schedule_id": [5, 40],
        "status": ["succeeded", "failed", "queued", "running", "skipped", "cancelled"],
        "task_type": ["analysis", "export"],
        "trigger": ["schedule", "manual"],
        "since": [NOW - timedelta(hours=hours) for hours in (3, 30)],
        "until": [NOW - timedelta(hours=hours) for hours in (2, 20)],
    }
    with database.transaction() as connection:
        every = connection.exec_driver_sql("SELECT * FROM jobs ORDER BY scheduled_for DESC, id DESC").all()
        for _ in range(120):
            wanted = {name: random.choice(values) for name, values in choices.items() if random.random() < 0.3}
            page, size = random.randint(1, 3), random.choice([7, 50])
            fitting = [job.id for job in every if _fits(job, wanted)]
            rows, total = list_jobs(connection, JobFilter(**wanted), page, size)
            assert [row.id for row in rows] == fitting[(page - 1) * size : page * size], wanted
            assert total == len(fitting), wanted


def test_a_rare_task_type_is_found_by_an_index_that_common_ones_do_not_pay_for(database: Database) -> None:
    one, rare = _JOBS.format(day=TODAY, number=5_000), _JOBS.format(day=TODAY + timedelta(hours=1), number=40)
    run(database, one, rare.replace("'analysis'", "'export'"))
    for _ in range(4):  # a partition a round
        count(database)
    tomorrow = f"{TODAY + timedelta(days=1):%Y%m%d}"
    with database.transaction() as connection:
        found = "SELECT tablename, indexdef FROM pg_indexes WHERE indexname ~ '^jobs_[0-9]{8}_rare_types$'"
        indexed: dict[str, str] = dict(connection.exec_driver_sql(found).tuples().all())
        assert {f"jobs_{TODAY:%Y%m%d}", f"jobs_{tomorrow}"} <= set(indexed)
        assert all("<> 'analysis'" in definition for definition in indexed.values())
        assert not any("export" in definition for definition in indexed.values())
        connection.exec_driver_sql("ANALYZE jobs")
        wanted = JobFilter(task_type="export", since=TODAY - timedelta(days=6))
        statement, values = page_statement(wanted, 1, 50)
        plan = "\n".join(connection.scalars(text(f"EXPLAIN {statement}"), values))
        assert f"jobs_{TODAY:%Y%m%d}_rare_types" in plan, plan
        rows, total = list_jobs(connection, wanted, 1, 50)
        assert (len(rows), total) == (40, 40)


def _fits(job: Any, wanted: dict[str, Any]) -> bool:
    return (
        ("project_ids" not in wanted or job.project_id in wanted["project_ids"])
        and all(getattr(job, name) == wanted[name] for name in wanted.keys() & {"schedule_id", "status", "task_type"})
        and ("trigger" not in wanted or job.trigger == wanted["trigger"])
        and ("since" not in wanted or job.scheduled_for >= wanted["since"])
        and ("until" not in wanted or job.scheduled_for <= wanted["until"])
    )
