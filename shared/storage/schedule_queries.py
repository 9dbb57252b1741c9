"""Reading many schedules: lists with filters, what is due, the summary. Called by the api.

Lists are ordered newest first by id, and read the page's ids from an index before joining the rest. Totals by project,
task type, frequency and enabled come from counts that triggers maintain (migration 0003), so they stay exact and cheap
at any size; with tags they are counted, exactly up to MOST_COUNTED.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Connection, Row, text

from shared.storage.schedules import JOINS, LISTED

MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class ScheduleFilter:
    """Which schedules; None means any. `project_ids` is what the caller may see."""

    project_ids: Sequence[int] | None = None
    enabled: bool | None = None
    task_type: str | None = None
    frequency: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


ListedSchedule = Row[Any]
"""A row of schedules.LISTED: JSON columns are text, success_rate is left to compute."""


def list_page(
    connection: Connection, wanted: ScheduleFilter, page: int, page_size: int
) -> tuple[Sequence[ListedSchedule], int]:
    """One page and the total. Pages count from 1."""
    where, values = _where(wanted)
    total = _total(connection, wanted, where, values)
    offset = (page - 1) * page_size
    if offset >= total:  # known without looking through what does not match
        return [], total
    values |= {"limit": page_size, "offset": offset}
    rows = connection.execute(
        text(
            f"WITH page AS MATERIALIZED (SELECT s.id FROM schedules s WHERE {where}"  # noqa: S608 (fixed words only)
            f" ORDER BY s.id DESC LIMIT :limit OFFSET :offset)"
            f" SELECT {LISTED} FROM page JOIN schedules s ON s.id = page.id {JOINS} ORDER BY s.id DESC"
        ),
        values,
    ).all()
    return rows, total


def _where(wanted: ScheduleFilter) -> tuple[str, dict[str, object]]:
    """The condition in fixed words, and its values."""
    parts = ["s.deleted_at IS NULL"]
    values: dict[str, object] = {}
    if wanted.project_ids is not None:
        if len(wanted.project_ids) == 1:
            parts.append("s.project_id = :project")  # lets the index give the order
            values["project"] = wanted.project_ids[0]
        else:
            parts.append("s.project_id = ANY(CAST(:projects AS bigint[]))")
            values["projects"] = list(wanted.project_ids)
    if wanted.enabled is not None:
        parts.append("s.enabled" if wanted.enabled else "NOT s.enabled")
    if wanted.task_type is not None:
        parts.append("s.task_type = :task_type")
        values["task_type"] = wanted.task_type
    if wanted.frequency is not None:
        parts.append("s.frequency = :frequency")
        values["frequency"] = wanted.frequency
    for number, (name, value) in enumerate(sorted(wanted.tags.items())):
        parts.append(tag_condition("s.tags", number))
        values |= tag_values(number, name, value)
    return " AND ".join(parts), values


def tag_condition(column: str, number: int) -> str:
    """A tag filter: the text given, or the number, boolean or null it spells. Its values: `tag_values`."""
    return f"({column} @> CAST(:tag{number} AS jsonb) OR {column} @> CAST(:word{number} AS jsonb))"


def tag_values(number: int, name: str, value: str) -> dict[str, object]:
    """The values of one tag condition."""
    as_text = orjson.dumps({name: value}).decode()
    as_word = as_text
    try:
        word = orjson.loads(value)
    except orjson.JSONDecodeError:
        word = None  # plain text: both conditions are the same
    if isinstance(word, (int, float, bool)):
        as_word = orjson.dumps({name: word}).decode()
    return {f"tag{number}": as_text, f"word{number}": as_word}


def _total(connection: Connection, wanted: ScheduleFilter, where: str, values: dict[str, object]) -> int:
    if wanted.tags:
        limited = f"SELECT count(*) FROM (SELECT FROM schedules s WHERE {where} LIMIT :most) AS found"  # noqa: S608
        return int(connection.execute(text(limited), values | {"most": MOST_COUNTED + 1}).scalar_one())
    parts = ["project_id = 0"] if wanted.project_ids is None else ["project_id = ANY(CAST(:projects AS bigint[]))"]
    counted: dict[str, object] = {}
    if wanted.project_ids is not None:
        counted["projects"] = list(wanted.project_ids)
    for name, value in (("enabled", wanted.enabled), ("task_type", wanted.task_type), ("frequency", wanted.frequency)):
        if value is not None:
            parts.append(f"{name} = :{name}")
            counted[name] = value
    statement = f"SELECT coalesce(sum(schedules), 0) FROM schedule_counts WHERE {' AND '.join(parts)}"  # noqa: S608
    return int(connection.execute(text(statement), counted).scalar_one())


def list_due(connection: Connection, project_ids: Sequence[int] | None, limit: int) -> Sequence[ListedSchedule]:
    """Schedules due and not yet claimed, the longest waiting first."""
    visible = "" if project_ids is None else "AND project_id = ANY(CAST(:projects AS bigint[]))"
    return connection.execute(
        text(
            f"WITH due AS MATERIALIZED (SELECT schedule_id FROM schedule_timers"  # noqa: S608
            f" WHERE next_run_at <= clock_timestamp() {visible} ORDER BY next_run_at LIMIT :limit)"
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
