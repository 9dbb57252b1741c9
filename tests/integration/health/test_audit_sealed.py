"""What the services' own role can do to the audit log: add to it, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import psycopg2
import pytest

from services.health.recorder import Recorder
from shared.storage import audit_proof, retention
from shared.storage.database import Database
from tests.integration.health.support import NOW, Rows, event, record

TODAY = f"{NOW:%Y%m%d}"


@pytest.mark.parametrize(
    "crime",
    [
        "UPDATE audit_log SET actor = 'x'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        f"UPDATE audit_log_{TODAY} SET actor = 'x'",
        f"DELETE FROM audit_log_{TODAY}",
        f"TRUNCATE audit_log_{TODAY}",
        "TRUNCATE audit_log_default",
        f"DROP TABLE audit_log_{TODAY}",
        "DROP TABLE audit_log",
        f"ALTER TABLE audit_log DETACH PARTITION audit_log_{TODAY}",
        "ALTER TABLE audit_log RENAME TO hidden",
        "ALTER TABLE audit_log DISABLE TRIGGER ALL",
        "DROP TRIGGER audit_log_append_only ON audit_log",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "SET session_replication_role = replica",
        "SET ROLE commandcenter_owner",
        "DROP SCHEMA public CASCADE",
        "CREATE TABLE audit_log_more (LIKE audit_log)",
        "UPDATE audit_chains SET place = place - 1",
        "UPDATE audit_chains SET hash = ''",
        "DELETE FROM audit_chains",
        "TRUNCATE audit_chains",
        "INSERT INTO audit_chains VALUES ('mine/0', 7, '')",
        "INSERT INTO audit_gaps (chain, first_place, last_place, last_hash, partition) VALUES ('a/0', 1, 2, '', 'p')",
        "DELETE FROM audit_gaps",
        f"SELECT drop_partition('audit_log', '{NOW.date()}')",
        f"SELECT drop_partition('audit_log', '{NOW.date() - timedelta(days=29)}')",
        "SELECT drop_partition('schedules', '2020-01-01')",
        "UPDATE alembic_version SET version_num = 'x'",
    ],
)
def test_no_way_around(rows: Rows, database: Database, crime: str) -> None:
    recorder = Recorder(database, lambda _dead: None)
    recorder.record([record(event("succeeded", job)) for job in rows.jobs(4, schedules=1)])
    with pytest.raises(psycopg2.Error):
        rows(crime)
    assert rows("SELECT count(*) FROM audit_log") == [(4,)]
    (chain,) = audit_proof.chains(database)
    assert audit_proof.verify(database, chain).broken is None


def test_a_chain_that_is_moved_ahead_tells(rows: Rows, database: Database) -> None:
    """Its writer must be allowed to move a chain's end; moving it past what is there is evident."""
    Recorder(database, lambda _dead: None).record(
        [record(event("succeeded", job)) for job in rows.jobs(2, schedules=1)]
    )
    rows("UPDATE audit_chains SET place = 9")
    (chain,) = audit_proof.chains(database)
    assert audit_proof.verify(database, chain).broken == "the chain ends at place 2, but place 9 was written"


def test_retention_and_new_partitions_need_no_owner(rows: Rows, database: Database) -> None:
    day = NOW.date() - timedelta(days=60)
    rows("SELECT ensure_partitions(%s, %s)", day, day)
    assert rows("SELECT tgname FROM pg_trigger WHERE tgrelid = to_regclass(%s) AND tgname LIKE '%%truncate'",
                f"audit_log_{day:%Y%m%d}") == [("audit_log_no_truncate",)]  # fmt: skip
    with database.transaction() as connection:
        assert f"audit_log_{day:%Y%m%d}" in retention.old_partitions(connection, "audit_log", NOW.date())
        assert retention.drop(connection, "audit_log", f"audit_log_{day:%Y%m%d}")
        assert retention.drop(connection, "jobs", f"jobs_{day:%Y%m%d}")
    assert rows("SELECT to_regclass(%s)", f"audit_log_{day:%Y%m%d}") == [(None,)]
