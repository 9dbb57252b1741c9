"""Reading jobs: one by id, and lists newest first. Called by the api.

Lists are ordered by occurrence, the partition key, so that one partition after the other is read until a page is full;
migration 0009 has an index in this order for what most filters leave rare. A schedule's jobs are read from two indexes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from shared.domain.job import OPEN
from shared.storage import counts
from shared.storage.filters import MOST_COUNTED, Filters
from shared.storage.open_jobs import published

_COLUMNS = """j.id, j.schedule_id, coalesce(v.name, s.name) AS schedule_name, j.project_id, j.task_type,
    coalesce(v.task_parameters, s.task_parameters) AS task_parameters, coalesce(v.tags, s.tags) AS tags,
    j.status, j.trigger, j.scheduled_for, j.created_at, j.started_at, j.finished_at, j.attempt, j.max_attempts,
    j.next_attempt_at, j.error, j.reason, j.result, j.artifacts, j.skip_until, j.skip_count, j.schedule_version,
    j.held"""
_JOINS = """LEFT JOIN schedule_versions v ON v.schedule_id = j.schedule_id AND v.version = j.schedule_version
    LEFT JOIN schedules s ON s.id = j.schedule_id"""

JobRow = Row[Any]
"""A job with the name, parameters and tags of the schedule version it runs."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs; None means any. Instants bound `scheduled_for`, both included."""

    project_ids: Sequence[int] | None = None
    schedule_id: int | None = None
    status: str | None = None
    task_type: str | None = None
    trigger: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


_GET = text(f"SELECT {_COLUMNS} FROM jobs j {_JOINS} WHERE j.id = :id")  # noqa: S608


def get(connection: Connection, job_id: int) -> JobRow | None:
    """A job by id, or None."""
    return connection.execute(_GET, {"id": job_id}).one_or_none()


_ORDER = "j.scheduled_for DESC, j.id DESC"
FEW = 2_000
"""Where the counts by day promise no more, page and total come from one reading of all that fit: to plan a second
statement over the partitions would cost more."""


def list_page(connection: Connection, wanted: JobFilter, page: int, page_size: int) -> tuple[list[JobRow], int]:
    """One page, the newest occurrences first, and the total.

    It is exact up to MOST_COUNTED; beyond that from the counts by day, where these know the filter.
    """
    known = None  # how many fit, tags apart
    if wanted.schedule_id is None:
        equal = {name: getattr(wanted, name) for name in ("status", "task_type", "trigger")}
        known = counts.counted(connection, "jobs", wanted.project_ids, equal, wanted.since, wanted.until)
    by_day = None if known is None or wanted.tags else (lambda: known)
    ended = wanted.status is None or wanted.status not in OPEN  # open jobs of a moment ago may be over
    one_by_one = lambda: _filters(wanted).count(connection, _source(wanted))  # noqa: E731
    if counts.is_beyond((page - 1) * page_size, by_day):
        return [], counts.total(one_by_one, by_day, only_grows=ended)
    # Deeper than is counted one by one, the counts may just not have come that far yet.
    few = known is not None and known <= FEW and page * page_size <= MOST_COUNTED
    statement, values = page_statement(wanted, page, page_size, with_total=few)
    rows = list(connection.execute(text(statement), values).all())
    if len(rows) < page_size and (rows or page == 1):
        return rows, (page - 1) * page_size + len(rows)
    if few and rows:
        return rows, rows[0].total
    return rows, counts.total(one_by_one, by_day, only_grows=ended)


def page_statement(
    wanted: JobFilter, page: int, page_size: int, *, with_total: bool = False
) -> tuple[str, dict[str, object]]:
    """A page's statement and values. `with_total`: each row says how many there are, counted up to MOST_COUNTED + 1."""
    filters = _filters(wanted)
    found = f"SELECT j.* FROM {_source(wanted)} WHERE {filters.condition}"  # noqa: S608 (fixed words only)
    total = ""
    if with_total:
        total = ", j.total"
        counted = f"{found} ORDER BY {_ORDER} LIMIT {MOST_COUNTED + 1}"
        found = f"SELECT j.*, count(*) OVER () AS total FROM ({counted}) AS j"  # noqa: S608
    elif wanted.schedule_id is not None:
        # Each half is read backwards from its own partial index; together they are every job of the schedule.
        scheduled, manual = (
            f"({found} AND j.trigger {kind} 'manual' ORDER BY {_ORDER} LIMIT :reach)" for kind in ("<>", "=")
        )
        found = f"SELECT j.* FROM ({scheduled} UNION ALL {manual}) AS j"  # noqa: S608
    # The page's rows are taken whole: to join them by id would plan for every partition once more, for milliseconds.
    statement = (
        f"WITH page AS MATERIALIZED ({found} ORDER BY {_ORDER} LIMIT :limit OFFSET :offset)"  # noqa: S608
        f" SELECT {_COLUMNS}{total} FROM page j {_JOINS} ORDER BY {_ORDER}"
    )
    places = {"limit": page_size, "offset": (page - 1) * page_size, "reach": page * page_size}
    return statement, filters.values | places


def _source(wanted: JobFilter) -> str:
    return f"jobs j {_JOINS if wanted.tags else ''}"


def _filters(wanted: JobFilter) -> Filters:
    filters = Filters()
    filters.within("j.project_id", wanted.project_ids)
    for name in ("schedule_id", "status", "task_type", "trigger"):
        filters.equal(f"j.{name}", getattr(wanted, name))
    filters.between("j.scheduled_for", wanted.since, wanted.until)
    filters.tagged("coalesce(v.tags, s.tags)", wanted.tags)
    return filters


_OPEN = text(
    "SELECT id, attempt, status, held, scheduled_for, schedule_id, project_id, task_type FROM jobs"
    " WHERE schedule_id = :schedule_id AND status IN ('queued', 'running', 'retrying') ORDER BY id FOR UPDATE"
)
_ANY_OPEN = text(
    f"SELECT {published(':schedule_id')} OR EXISTS"  # noqa: S608 (a constant)
    " (SELECT FROM jobs WHERE schedule_id = :schedule_id AND held AND status = 'queued')"
)
_LOCK = text("SELECT * FROM jobs WHERE id = :id AND scheduled_for = :scheduled_for FOR UPDATE")


def lock_open(connection: Connection, schedule_id: int) -> Sequence[JobRow]:
    """The open jobs of a schedule, locked in the order of their ids; the caller holds the timer."""
    return connection.execute(_OPEN, {"schedule_id": schedule_id}).all()


def any_open(connection: Connection, schedule_id: int) -> bool:
    """Whether a job of a schedule is not over, as the dispatcher judges it; the caller holds the timer."""
    return bool(connection.execute(_ANY_OPEN, {"schedule_id": schedule_id}).scalar_one())


def lock(connection: Connection, job_id: int, scheduled_for: datetime) -> JobRow | None:
    """One job's own row, locked."""
    return connection.execute(_LOCK, {"id": job_id, "scheduled_for": scheduled_for}).one_or_none()
