"""Throwing away what is old: whole partitions where rows are many, rows in small steps elsewhere.

No partition is dropped while it holds open jobs, and a dropped partition of the audit log leaves a note of its places
in the chains (table audit_gaps), so that what stays can still be verified.
"""

from datetime import date, datetime, timedelta

from sqlalchemy import Connection, text

_CHILDREN = text(
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = CAST(:parent AS regclass) ORDER BY c.relname"
)
_STEP = 5_000
"""Rows deleted by one statement: a long transaction would keep autovacuum from the hot tables."""

# What may go, by table.
_ROWS = {
    "run_claims": "ended_at < :before",
    "idempotency_keys": "created_at < :before",
    "webhook_deliveries": "sent_at < :before",
    "batch_progress": "ended_at < :before",
    "health_issues": "resolved_at < :before",
    "health_reports": "reported_at < :before",
    "jobs_default": "scheduled_for < :before AND status NOT IN ('queued', 'running', 'retrying')",
}
_NOTE_GAPS = """
INSERT INTO audit_gaps (chain, first_place, last_place, last_hash, partition)
SELECT r.chain, lower(r.places), upper(r.places) - 1,
    (SELECT hash FROM {partition} a WHERE a.chain = r.chain AND a.place = upper(r.places) - 1), :partition
FROM (
    SELECT chain, unnest(range_agg(int8range(place, place + 1))) AS places FROM {partition} GROUP BY chain
) AS r
ON CONFLICT DO NOTHING
"""


def old_partitions(connection: Connection, parent: str, before: date) -> list[str]:
    """Daily partitions of `parent` whose whole day lies before that date, oldest first."""
    found = []
    for name in connection.scalars(_CHILDREN, {"parent": parent}):
        suffix = name.removeprefix(f"{parent}_")
        if suffix.isdigit() and len(suffix) == len("20251012") and _day(suffix) + timedelta(days=1) <= before:
            found.append(name)
    return found


def drop_jobs(connection: Connection, partition: str) -> bool:
    """Drop a day of jobs; False when it still holds open ones."""
    connection.execute(text("SET LOCAL lock_timeout = '2s'"))
    condition = "status IN ('queued', 'running', 'retrying')"
    is_open = connection.execute(text(f"SELECT EXISTS (SELECT FROM {partition} WHERE {condition})")).scalar_one()  # noqa: S608
    if is_open:
        return False
    connection.execute(text(f"DROP TABLE {partition}"))
    return True


def drop_audit(connection: Connection, partition: str) -> None:
    """Drop a day of the audit log and note which places of which chains went with it."""
    connection.execute(text("SET LOCAL lock_timeout = '2s'"))
    connection.execute(text(f"LOCK TABLE {partition} IN SHARE MODE"))
    connection.execute(text(_NOTE_GAPS.format(partition=partition)), {"partition": partition})
    connection.execute(text(f"DROP TABLE {partition}"))


def delete_rows(connection: Connection, table: str, before: datetime) -> int:
    """Delete up to 5,000 rows older than `before`; call again until it returns 0."""
    where = _ROWS[table]
    statement = f"DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {where} LIMIT {_STEP}))"  # noqa: S608
    return connection.execute(text(statement), {"before": before}).rowcount


def _day(suffix: str) -> date:
    return date(int(suffix[:4]), int(suffix[4:6]), int(suffix[6:]))
