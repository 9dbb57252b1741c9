"""The audit log proves itself, and betrays whoever altered it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import psycopg2
import pytest

from services.health.recorder import Recorder
from shared.storage import audit_proof, retention
from shared.storage.database import Database
from tests.integration.health.support import NOW, Rows, event, record
from tests.servers import TestServers


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


def write(rows: Rows, database: Database, number: int, at: datetime = NOW) -> None:
    """Entries of one chain (schedule 1) at one instant."""
    recorder = Recorder(database, lambda _dead: None)
    for job in rows.jobs(number, schedules=1):
        one = event("succeeded", job)
        recorder.record([record(type(one)(one.id, one.source, at, one.data, one.schedule_id, one.job_id))])
    rows("DELETE FROM jobs")


def proof(database: Database) -> audit_proof.Proof:
    (chain,) = audit_proof.chains(database)
    return audit_proof.verify(database, chain)


def as_superuser(test_servers: TestServers, database_url: str, statement: str) -> None:
    """What even the append-only trigger cannot prevent."""
    admin = test_servers.postgres()["admin_url"].rsplit("/", 1)[0] + "/" + database_url.rsplit("/", 1)[1]
    connection = psycopg2.connect(admin)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # triggers are silent
        cursor.execute(statement)
    connection.close()


def test_an_untouched_log_holds(rows: Rows, database: Database, database_url: str) -> None:
    write(rows, database, 7)
    assert proof(database) == audit_proof.Proof("runs.results/1", 7)
    result = subprocess.run(
        [sys.executable, "-m", "services.health.audit_verify"],
        env={**os.environ, "COMMANDCENTER_DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0
    assert "7 entries verified: nothing was altered or removed." in result.stdout


@pytest.mark.parametrize(
    ("crime", "sentence"),
    [
        ("UPDATE audit_log SET actor = 'nobody' WHERE place = 3", "place 3 was altered"),
        ("UPDATE audit_log SET detail = detail || '{\"duration_seconds\": 1}' WHERE place = 4", "place 4 was altered"),
        ("DELETE FROM audit_log WHERE place = 5", "place 5 is missing"),
        ("DELETE FROM audit_log WHERE place = 1", "place 1 is missing"),
        ("DELETE FROM audit_log WHERE place >= 6", "the chain ends at place 5, but place 7 was written"),
        ("UPDATE audit_log SET hash = previous_hash WHERE place = 7", "place 7 was altered"),
        ("DELETE FROM audit_chains", "its end is missing from audit_chains"),
    ],
)
def test_whatever_is_altered_is_found(
    rows: Rows, database: Database, database_url: str, test_servers: TestServers, crime: str, sentence: str
) -> None:
    write(rows, database, 7)
    as_superuser(test_servers, database_url, crime)
    assert proof(database).broken == sentence


def test_what_retention_drops_leaves_the_rest_verifiable(rows: Rows, database: Database) -> None:
    rows("SELECT ensure_partitions(%s, %s)", NOW.date() - timedelta(days=40), NOW.date() - timedelta(days=38))
    old = NOW - timedelta(days=39)
    write(rows, database, 3, old)
    write(rows, database, 2, NOW)
    write(rows, database, 2, old)  # an old event that came late lies between new ones
    write(rows, database, 2, NOW)
    with database.transaction() as connection:
        dropped = retention.old_partitions(connection, "audit_log", old.date() + timedelta(days=1))
        assert f"audit_log_{old:%Y%m%d}" in dropped
        for partition in dropped:
            retention.drop_audit(connection, partition)
    assert rows("SELECT first_place, last_place FROM audit_gaps ORDER BY 1") == [(1, 3), (6, 7)]
    assert proof(database) == audit_proof.Proof("runs.results/1", 4)


def test_no_day_is_dropped_that_still_holds_open_jobs(rows: Rows, database: Database) -> None:
    day = date.today() - timedelta(days=100)  # noqa: DTZ011
    rows("SELECT ensure_partitions(%s, %s)", day, day)
    name = f"jobs_{day:%Y%m%d}"
    instant = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    rows(
        "INSERT INTO jobs (schedule_id, schedule_version, project_id, task_type, trigger, status, scheduled_for)"
        " VALUES (1, 1, 1, 'analysis', 'schedule', 'retrying', %s)",
        instant,
    )
    with database.transaction() as connection:
        assert retention.drop_jobs(connection, name) is False
    rows("UPDATE jobs SET status = 'failed'")
    with database.transaction() as connection:
        assert retention.drop_jobs(connection, name) is True
    assert rows("SELECT to_regclass(%s)", name) == [(None,)]
