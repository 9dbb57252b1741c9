"""Throwing away what is old: whole partitions where rows are many, rows in small steps elsewhere.

No partition is dropped while it holds open jobs, and a dropped partition of the audit log leaves a note of its places
in the chains (table audit_gaps), so that what stays can still be verified.
"""

from datetime import date, datetime, timedelta

from sqlalchemy import Connection, text

from shared.storage import counts

_CHILDREN = text(
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = CAST(:parent AS regclass) ORDER BY c.relname"
)
_LONGEST_WINDOW = text("SELECT coalesce(max(catchup_window_seconds), 0) FROM schedules WHERE enabled")
_STEP = 5_000
"""Rows deleted by one statement: a long transaction would keep autovacuum from the hot tables."""

# What may go, by table.
_ROWS = {
    "run_claims": "ended_at < :before",
    "idempotency_keys": "created_at < :before",
    "webhook_deliveries": "sent_at < :before",
    "dead_letters": "put_aside_at < :before",
    "dead_letter_resends": "resent_at < :before",
    "batch_progress": "ended_at < :before",
    "health_issues": "resolved_at < :before",
    "health_reports": "reported_at < :before",
    "jobs_default": "scheduled_for < :before AND status NOT IN ('queued', 'running', 'retrying')",
}
_DROP = text("SELECT drop_partition(:parent, :day)")


def old_partitions(connection: Connection, parent: str, before: date) -> list[str]:
    """Daily partitions of `parent` whose whole day lies before that date, oldest first."""
    found = []
    for name in connection.scalars(_CHILDREN, {"parent": parent}):
        suffix = name.removeprefix(f"{parent}_")
        if suffix.isdigit() and len(suffix) == len("20251012") and _day(suffix) + timedelta(days=1) <= before:
            found.append(name)
    return found


def longest_window(connection: Connection) -> timedelta:
    """How far back an enabled schedule may still catch up: jobs of those days are kept."""
    return timedelta(seconds=connection.execute(_LONGEST_WINDOW).scalar_one())


def drop(connection: Connection, parent: str, partition: str) -> bool:
    """Drop that day of `jobs` or `audit_log`; False when it still holds open jobs.

    What leaves the audit log is noted by the database itself (drop_partition, migrations 0006 and 0010), which drops no
    day of it that is younger than 30 days, whoever asks.
    """
    day = _day(partition.removeprefix(f"{parent}_"))
    dropped: bool = connection.execute(_DROP, {"parent": parent, "day": day}).scalar_one()
    if dropped:
        counts.forget(connection, parent, partition)
    return dropped


def delete_rows(connection: Connection, table: str, before: datetime) -> int:
    """Delete up to 5,000 rows older than `before`; call again until it returns 0."""
    where = _ROWS[table]
    statement = f"DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {where} LIMIT {_STEP}))"  # noqa: S608
    return connection.execute(text(statement), {"before": before}).rowcount


def _day(suffix: str) -> date:
    return date(int(suffix[:4]), int(suffix[4:6]), int(suffix[6:]))
