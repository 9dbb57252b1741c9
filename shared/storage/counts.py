"""How many jobs and audit entries there are by day: the totals of lists too long to be counted while somebody waits.

health counts partitions anew (`refresh`), each when it has changed and at most for a hundredth of the time; the api
sums (`counted`). Writers of jobs and of the audit log do nothing for it: counting with every batch would cost
the dispatcher a row a project. A dropped partition's counts go with it (`forget`).
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from shared.storage.filters import MOST_COUNTED, Filters

SHARE = 0.01
"""The part of the time that counting one partition may take."""
_SHORTEST = 10.0
"""Seconds between two counts of a partition, however quick they are."""
_UNCOUNTED = 1_000_000
"""Rows that may have come since they were counted."""

_GROUPS = {
    "jobs": ("job_counts", "scheduled_for", ("task_type", "trigger", "status")),
    "audit_log": ("audit_counts", "at", ("actor", "action")),
}
_STALE = text("""
SELECT c.relname AS name, s.changes
FROM pg_inherits AS i
JOIN pg_class AS c ON c.oid = i.inhrelid
CROSS JOIN LATERAL (SELECT pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid)
    + pg_stat_get_tuples_deleted(c.oid) AS changes) AS s
LEFT JOIN counted_partitions AS p ON p.partition = c.relname
WHERE i.inhparent = CAST(:parent AS regclass) AND c.relname ~ '_[0-9]{8}$'
    AND CASE WHEN p.partition IS NULL THEN s.changes > 0
    ELSE s.changes <> p.changes
        AND p.counted_at < clock_timestamp() - make_interval(secs => greatest(:shortest, p.seconds / :share)) END
ORDER BY c.relname DESC
""")
_NOTE = text("""
INSERT INTO counted_partitions (partition, changes, counted_at, seconds)
VALUES (:partition, :changes, now(), extract(epoch FROM clock_timestamp() - now()))
ON CONFLICT (partition) DO UPDATE
    SET changes = excluded.changes, counted_at = excluded.counted_at, seconds = excluded.seconds
""")
_POSTPONE = text("""
INSERT INTO counted_partitions (partition, changes, counted_at, seconds)
VALUES (:partition, 0, clock_timestamp(), :seconds)
ON CONFLICT (partition) DO UPDATE SET counted_at = excluded.counted_at, seconds = excluded.seconds
""")


class StalePartition(NamedTuple):
    """A partition that has changed since it was counted, and its changes so far."""

    name: str
    changes: int


def stale(connection: Connection, parent: str) -> list[StalePartition]:
    """The daily partitions of `jobs` or `audit_log` whose count is due, the newest first."""
    values = {"parent": parent, "share": SHARE, "shortest": _SHORTEST}
    return [StalePartition(row.name, row.changes) for row in connection.execute(_STALE, values)]


def refresh(connection: Connection, parent: str, partition: StalePartition) -> None:
    """Count one partition anew, in a transaction of its own."""
    table, instant, columns = _GROUPS[parent]
    names = ", ".join(columns)
    day = partition.name.removeprefix(f"{parent}_")
    forget(connection, parent, partition.name)
    connection.execute(
        text(
            f"INSERT INTO {table} (partition, day, project_id, {names}, number)"  # noqa: S608 (names of ours)
            f" SELECT :partition, CAST(:day AS date), CASE GROUPING(project_id) WHEN 1 THEN 0 ELSE project_id END,"
            f" {names}, count(*) FROM {parent}"  # a partition itself may be closed to the services' role
            f" WHERE {instant} >= CAST(:day AS date) AND {instant} < CAST(:day AS date) + 1"
            f" GROUP BY GROUPING SETS ((project_id, {names}), ({names}))"
        ),
        {"partition": partition.name, "day": day},
    )
    connection.execute(_NOTE, {"partition": partition.name, "changes": partition.changes})


def postpone(connection: Connection, partition: StalePartition, seconds: float) -> None:
    """It could not be counted within so many seconds: what was counted stands, and the next try comes as much later."""
    connection.execute(_POSTPONE, {"partition": partition.name, "seconds": seconds})


def index_rare_types(connection: Connection) -> str | None:
    """Give one day's partition of jobs its index of rare task types, as the counts tell them (migration 0011).

    Returns the partition; None: none is lacking, too little is counted, or it was locked for too long.
    """
    child: str | None = connection.execute(text("SELECT index_rare_types()")).scalar_one()
    return child


def forget(connection: Connection, parent: str, partition: str) -> None:
    """Remove the counts of a partition: it is counted anew, or dropped."""
    table = _GROUPS[parent][0]
    connection.execute(text(f"DELETE FROM {table} WHERE partition = :partition"), {"partition": partition})  # noqa: S608
    connection.execute(text("DELETE FROM counted_partitions WHERE partition = :partition"), {"partition": partition})


def counted(
    connection: Connection,
    parent: str,
    project_ids: Sequence[int] | None,
    equal: dict[str, str | None],
    since: datetime | None,
    until: datetime | None,
) -> int:
    """How many rows of `jobs` or `audit_log` were counted; a day that `since` or `until` cuts counts in proportion."""
    filters = Filters()
    filters.within("project_id", [0] if project_ids is None else project_ids)
    for name, value in equal.items():
        filters.equal(name, value)
    if since is not None:
        filters.add("day >= CAST(:since AS timestamptz)::date", since=since)
    if until is not None:
        filters.add("day <= CAST(:until AS timestamptz)::date", until=until)
    values = {"since": since, "until": until, **filters.values}
    statement = f"""
        SELECT coalesce(sum(number * greatest(0, extract(epoch FROM least(ends, :until) - greatest(begins, :since)))
            / extract(epoch FROM ends - begins)), 0)
        FROM {_GROUPS[parent][0]},
            LATERAL (SELECT day::timestamptz AS begins, greatest(least(day + 1, clock_timestamp()),
                day + interval '1 second') AS ends) AS span
        WHERE {filters.condition}
    """  # noqa: S608 (fixed words only)
    number: float = connection.execute(text(statement), values).scalar_one()
    return round(number)


def is_beyond(offset: int, by_day: Callable[[], int] | None) -> bool:
    """Whether a page begins far behind all there can be: to find nothing there, PostgreSQL would read millions of rows.

    Far: counts may be old, while health is away.
    """
    return offset >= _UNCOUNTED and by_day is not None and offset >= 2 * by_day() + _UNCOUNTED


def total(one_by_one: Callable[[], int], by_day: Callable[[], int] | None, *, only_grows: bool = True) -> int:
    """A list's total: exact up to MOST_COUNTED; beyond that from the counts by day, or one more than MOST_COUNTED.

    Where the counts say that there are many more, nobody counts one by one; but where what is counted can become few
    again (`only_grows` is false), the counts of a while ago prove nothing.
    """
    known = by_day() if by_day is not None else 0
    if only_grows and known > 2 * MOST_COUNTED:
        return known
    exact = one_by_one()
    return exact if exact <= MOST_COUNTED else max(exact, known)
