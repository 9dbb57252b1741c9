"""Reading many schedules: lists with filters, what is due, the summary. Called by the api.

Lists are ordered newest first by id, and read the page's ids from an index before joining the rest. Totals by project,
task type, frequency and enabled come from counts that triggers maintain (migration 0003), so they stay exact and cheap
at any size; with tags they are counted, exactly up to MOST_COUNTED.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Row, TextClause, TextualSelect, text

from shared.storage.filters import MOST_COUNTED, Filters
from shared.storage.schedules import JOINS, LISTED, listed


@dataclass(frozen=True, slots=True)
class ScheduleFilter:
    """Which schedules; None means any. `project_ids` is what the caller may see."""

    project_ids: Sequence[int] | None = None
    enabled: bool | None = None
    task_type: str | None = None
    frequency: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


ListedSchedule = Row[Any]
"""A row of schedules.LISTED, and maybe more behind it: JSON columns are text, success_rate is left to compute."""


_SUM = "SELECT coalesce(sum(schedules), 0) FROM schedule_counts"
_COUNT = text(f"{_SUM} WHERE project_id = ANY(CAST(:projects AS bigint[]))")
_ONE = listed(f"SELECT {LISTED} FROM schedules s {JOINS} WHERE s.id = :id AND s.deleted_at IS NULL")  # noqa: S608


def one(connection: Connection, schedule_id: int) -> ListedSchedule | None:
    """A schedule as lists show it; None when there is none or it has been deleted."""
    return connection.execute(_ONE, {"id": schedule_id}).one_or_none()


def list_page(
    connection: Connection, wanted: ScheduleFilter, page: int, page_size: int
) -> tuple[Sequence[ListedSchedule], int]:
    """One page and the total. Pages count from 1; rows carry the total behind what is LISTED, or nothing."""
    filters, counted = _filters(wanted), _counted(wanted)
    offset = (page - 1) * page_size
    values = filters.values | {"limit": page_size, "offset": offset}
    if offset < NEAR and not wanted.tags:
        found = connection.execute(_near(filters.condition, counted.condition), values | counted.values).all()
        if found:
            return found, int(found[0].total)
    total = filters.count(connection, "schedules s") if wanted.tags else _total(connection, counted)
    if offset >= total:  # known without looking through what does not match
        return [], total
    return connection.execute(_far(filters.condition), values).all(), total


NEAR = 1_000
"""So many rows are read and passed over; beyond that the way goes over the index alone."""


@lru_cache(maxsize=256)
def _near(condition: str, counted: str) -> TextualSelect:
    """One statement for page and total: a statement costs as much as twenty of the page's rows.

    Where the counts say that there is nothing, nothing is looked through.
    """
    return listed(
        f"WITH counted (total) AS MATERIALIZED ({_SUM} WHERE {counted}),"  # noqa: S608
        f" page AS MATERIALIZED (SELECT s.* FROM schedules s WHERE {condition}"
        f" AND CAST(:offset AS bigint) < (SELECT total FROM counted) ORDER BY s.id DESC LIMIT :limit OFFSET :offset)"
        f" SELECT {LISTED}, (SELECT total FROM counted) AS total FROM page s {JOINS} ORDER BY s.id DESC",
        "total",
    )


@lru_cache(maxsize=256)
def _far(condition: str) -> TextualSelect:
    return listed(
        f"WITH page AS MATERIALIZED (SELECT s.id FROM schedules s WHERE {condition}"  # noqa: S608
        f" ORDER BY s.id DESC LIMIT :limit OFFSET :offset)"
        f" SELECT {LISTED} FROM page JOIN schedules s ON s.id = page.id {JOINS} ORDER BY s.id DESC"
    )


def _filters(wanted: ScheduleFilter) -> Filters:
    filters = Filters("s.deleted_at IS NULL")
    filters.within("s.project_id", wanted.project_ids)
    if wanted.enabled is not None:
        filters.add("s.enabled" if wanted.enabled else "NOT s.enabled")  # as the partial index says it
    filters.equal("s.task_type", wanted.task_type)
    filters.equal("s.frequency", wanted.frequency)
    filters.tagged("s.tags", wanted.tags)
    return filters


def _counted(wanted: ScheduleFilter) -> Filters:
    """The same among the maintained counts, which know no tags; its values have the names and values of `_filters`."""
    counted = Filters()
    counted.within("project_id", [0] if wanted.project_ids is None else wanted.project_ids)
    for name in ("enabled", "task_type", "frequency"):
        counted.equal(name, getattr(wanted, name))
    return counted


def _total(connection: Connection, counted: Filters) -> int:
    return int(connection.execute(_sum(counted.condition), counted.values).scalar_one())


@lru_cache(maxsize=256)
def _sum(condition: str) -> TextClause:
    return text(f"{_SUM} WHERE {condition}")


def count(connection: Connection, project_ids: Sequence[int]) -> int:
    """How many schedules some projects have."""
    values = {"projects": list(project_ids)}
    return int(connection.execute(_COUNT, values).scalar_one())


def list_due(connection: Connection, project_ids: Sequence[int] | None, limit: int) -> Sequence[ListedSchedule]:
    """Schedules due and not yet claimed, the longest waiting first."""
    visible = "" if project_ids is None else "AND project_id = ANY(CAST(:projects AS bigint[]))"
    # now(), not clock_timestamp(): that is no bound of an index scan.
    return connection.execute(
        text(
            f"WITH due AS MATERIALIZED (SELECT schedule_id FROM schedule_timers"  # noqa: S608
            f" WHERE next_run_at <= now() {visible} ORDER BY next_run_at LIMIT :limit)"
            f" SELECT {LISTED} FROM due JOIN schedules s ON s.id = due.schedule_id {JOINS}"
            f" WHERE s.deleted_at IS NULL AND s.enabled ORDER BY t.next_run_at, s.id"
        ),
        {"limit": limit} | ({} if project_ids is None else {"projects": list(project_ids)}),
    ).all()


@dataclass(frozen=True, slots=True)
class Summary:
    """Schedules and their runs, counted."""

    enabled: int
    disabled: int
    successes: int
    failures: int
    by_frequency: dict[str, int]


def summarise(connection: Connection, project_ids: Sequence[int] | None) -> Summary:
    """The summary of some projects, or of all. Runs of deleted schedules stay counted beyond MOST_COUNTED only."""
    values: dict[str, object] = {} if project_ids is None else {"projects": list(project_ids)}
    visible = "project_id = 0" if project_ids is None else "project_id = ANY(CAST(:projects AS bigint[]))"
    rows = connection.execute(
        text(
            f"SELECT frequency, enabled, sum(schedules) AS schedules FROM schedule_counts"  # noqa: S608
            f" WHERE {visible} GROUP BY frequency, enabled"
        ),
        values,
    ).all()
    by_frequency: dict[str, int] = {}
    enabled = disabled = 0
    for row in rows:
        number = int(row.schedules)
        by_frequency[row.frequency] = by_frequency.get(row.frequency, 0) + number
        if row.enabled:
            enabled += number
        else:
            disabled += number
    if enabled + disabled <= MOST_COUNTED:
        of_project = "" if project_ids is None else "AND s.project_id = ANY(CAST(:projects AS bigint[]))"
        runs = text(
            f"SELECT coalesce(sum(success_count), 0) AS successes, coalesce(sum(failure_count), 0) AS failures"  # noqa: S608
            f" FROM schedules s JOIN schedule_statistics st ON st.schedule_id = s.id"
            f" WHERE s.deleted_at IS NULL {of_project}"
        )
    else:
        runs = text(
            f"SELECT coalesce(sum(successes), 0) AS successes, coalesce(sum(failures), 0) AS failures"  # noqa: S608
            f" FROM run_counts WHERE {visible}"
        )
    total = connection.execute(runs, values).one()
    ordered = sorted(
        ((name, count) for name, count in by_frequency.items() if count), key=lambda one: (-one[1], one[0])
    )
    return Summary(enabled, disabled, int(total.successes), int(total.failures), dict(ordered))
