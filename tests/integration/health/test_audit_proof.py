"""The audit log proves itself, and betrays whoever altered it."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg2
import pytest

from services.health.recorder import Recorder
from services.health.retention import Periods, Retention
from shared.storage import audit_proof, retention
from shared.storage.database import Database
from tests.integration.health.support import NOW, Rows, event, record
from tests.servers import TestServers

CUT_BACK_TO = "UPDATE audit_chains SET place = {0}, hash = (SELECT hash FROM audit_log WHERE place = {0})"


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


def command(database_url: str, home: Path) -> tuple[int, str]:
    """`make audit-verify`."""
    result = subprocess.run(
        [sys.executable, "-m", "services.health.audit_verify"],
        env={**os.environ, "COMMANDCENTER_DATABASE_URL": database_url, "COMMANDCENTER_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout


def test_an_untouched_log_holds(rows: Rows, database: Database, database_url: str, tmp_path: Path) -> None:
    write(rows, database, 7)
    assert proof(database) == audit_proof.Proof("runs.results/1", 7)
    code, said = command(database_url, tmp_path)
    assert code == 0
    assert "7 entries verified: nothing was altered, and nothing removed since this first verification" in said
    write(rows, database, 3)
    assert command(database_url, tmp_path)[0] == 0, "what was added since was not there to be noted"


@pytest.mark.parametrize(
    ("crime", "sentence"),
    [
        # The last entries cut off, and the chain's end moved back to fit: the log itself is consistent.
        (
            f"DELETE FROM audit_log WHERE place > 5; {CUT_BACK_TO.format(5)}",
            "place 7 was there at an earlier verification and is gone",
        ),
        # The last entry replaced by one that is chained correctly.
        ("replace", "place 7 is not the entry that was there at an earlier verification"),
        ("DELETE FROM audit_log; DELETE FROM audit_chains", "it was there at an earlier verification and is gone"),
    ],
)
def test_not_even_the_owner_cuts_entries_off_unseen(
    rows: Rows,
    database: Database,
    database_url: str,
    test_servers: TestServers,
    tmp_path: Path,
    crime: str,
    sentence: str,
) -> None:
    write(rows, database, 7)
    assert command(database_url, tmp_path)[0] == 0
    if crime == "replace":
        as_superuser(test_servers, database_url, f"DELETE FROM audit_log WHERE place > 6; {CUT_BACK_TO.format(6)}")
        write(rows, database, 1)
    else:
        as_superuser(test_servers, database_url, crime)
    assert [audit_proof.verify(database, one).broken for one in audit_proof.chains(database)] in ([], [None])
    code, said = command(database_url, tmp_path)
    assert code == 1
    assert sentence in said


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
            retention.drop(connection, "audit_log", partition)
    assert rows("SELECT first_place, last_place FROM audit_gaps ORDER BY 1") == [(1, 3), (6, 7)]
    assert proof(database) == audit_proof.Proof("runs.results/1", 4)


def test_old_entries_without_a_day_of_their_own_go_too(rows: Rows, database: Database, owner_url: str) -> None:
    old, young = (
        NOW - timedelta(days=500),
        NOW - timedelta(days=60),
    )  # from before all partitions, or a clock far behind
    write(rows, database, 3, old)
    write(rows, database, 2, NOW)
    write(rows, database, 2, old)
    write(rows, database, 1, young)
    assert rows("SELECT count(*) FROM audit_log WHERE at < now() - interval '2 days'") == [(6,)]
    Retention(database, Periods(jobs=90, audit=400, artifacts=90), lambda _before, _kept: 0).run(NOW)
    assert rows("SELECT first_place, last_place, partition FROM audit_gaps ORDER BY 1") == [
        (1, 3, "audit_log_default"),
        (6, 7, "audit_log_default"),
    ]
    assert proof(database) == audit_proof.Proof("runs.results/1", 3)
    owner = Rows(owner_url)
    with pytest.raises(psycopg2.Error, match="append-only"):  # as before
        owner("DELETE FROM audit_log WHERE at < now() - interval '2 days'")
    owner.close()
    with pytest.raises(psycopg2.Error, match="only those from 30 days on go"):
        rows("SELECT expire_default_audit(%s)", NOW.date() - timedelta(days=28))


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
        assert retention.drop(connection, "jobs", name) is False
    rows("UPDATE jobs SET status = 'failed'")
    with database.transaction() as connection:
        assert retention.drop(connection, "jobs", name) is True
    assert rows("SELECT to_regclass(%s)", name) == [(None,)]


def test_jobs_are_kept_for_as_long_as_a_schedule_may_catch_up(rows: Rows, database: Database) -> None:
    days = [NOW.date() - timedelta(days=back) for back in (120, 99)]
    for day in days:
        rows("SELECT ensure_partitions(%s, %s)", day, day)
    rows(
        "INSERT INTO schedules (project_id, name, task_type, frequency, catchup_window_seconds)"
        " VALUES (1, 'rarely', 'analysis', 'monthly', %s)",
        100 * 86_400,
    )
    Retention(database, Periods(jobs=90, audit=400, artifacts=90), lambda _before, _kept: 0).run(NOW)
    assert [rows("SELECT to_regclass(%s)::text", f"jobs_{day:%Y%m%d}")[0][0] is None for day in days] == [True, False]
