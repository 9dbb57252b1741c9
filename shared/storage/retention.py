"""Throwing away what is old: whole partitions where rows are many, rows in small steps elsewhere.

No partition is dropped while it holds open jobs, and a dropped partition of the audit log leaves a note of its places
in the chains (table audit_gaps), so that what stays can still be verified.
"""

from datetime import date, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, text

from shared.storage import counts

_CHILDREN = text(
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = CAST(:parent AS regclass) ORDER BY c.relname"
)
_LONGEST_WINDOW = text("SELECT coalesce(max(catchup_window_seconds), 0) FROM schedules WHERE enabled")
_STEP = 5_000
"""Rows looked at by one step: a long transaction would keep autovacuum from the hot tables."""


class _Rows(NamedTuple):
    """A table that is emptied row by row, along an index: `key` grows as the rows get younger, `age` says how old."""

    key: str
    age: str
    besides: str = "true"
    """What else must hold of a row that goes."""


_ROWS = {
    # By their ids: an index of instants would cost every claim.
    "run_claims": _Rows("job_id", "claimed_at", "ended_at < :before"),
    "webhook_deliveries": _Rows("id", "sent_at"),
    "health_reports": _Rows("id", "reported_at"),
    "dead_letters": _Rows("put_aside_at", "put_aside_at"),
    "dead_letter_resends": _Rows("resent_at", "resent_at"),
    "batch_progress": _Rows("ended_at", "ended_at"),
    "health_issues": _Rows("resolved_at", "resolved_at"),
    "jobs_default": _Rows("scheduled_for", "scheduled_for", "status NOT IN ('queued', 'running', 'retrying')"),
}
Key = int | datetime
_DROP = text("SELECT drop_partition(:parent, :day)")
_EXPIRE_DEFAULT = text("SELECT expire_default_audit(:before)")


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
    day = day_of(parent, partition)
    dropped: bool = connection.execute(_DROP, {"parent": parent, "day": day}).scalar_one()
    if dropped:
        counts.forget(connection, parent, partition)
    return dropped


def expire_default_audit(connection: Connection, before: date) -> int:
    """Remove up to 5,000 entries before that day which have no day of their own; call again until it returns 0.

    Done, and noted, by the database itself (migration 0012), under the same rules as a whole day.
    """
    removed: int = connection.execute(_EXPIRE_DEFAULT, {"before": before}).scalar_one()
    return removed


def delete_rows(connection: Connection, table: str, before: datetime, after: Key | None) -> tuple[int, Key | None]:
    """One step: look at the next 5,000 rows and delete those older than `before`.

    Returns how many went and where the next step goes on (`after`, at first None); None when younger ones begin. A
    table of any size is walked along its index, so a step costs the same at its beginning and at its end.
    """
    key, age, besides = _ROWS[table]
    values = {"before": before, "after": after}
    beyond = "true" if after is None else f"{key} > :after"
    look = f"""
        SELECT max(key) AS upto, coalesce(bool_or(age < :before), false) AS some_old, count(*) AS seen
        FROM (SELECT {key} AS key, {age} AS age FROM {table} WHERE {beyond} AND {key} IS NOT NULL
            ORDER BY {key} LIMIT {_STEP}) AS next
    """  # noqa: S608 (constants)
    row = connection.execute(text(look), values).one()
    if not row.some_old:
        return 0, None
    delete = f"DELETE FROM {table} WHERE {beyond} AND {key} <= :upto AND {age} < :before AND {besides}"  # noqa: S608
    deleted = connection.execute(text(delete), {**values, "upto": row.upto}).rowcount
    return deleted, row.upto if row.seen == _STEP else None


def day_of(parent: str, partition: str) -> date:
    """The day of a daily partition of `parent`."""
    return _day(partition.removeprefix(f"{parent}_"))


def _day(suffix: str) -> date:
    return date(int(suffix[:4]), int(suffix[4:6]), int(suffix[6:]))
