"""Reading jobs: one by id, and lists newest first. Called by the api.

A schedule's jobs are listed by occurrence from two small indexes; all other lists by id, inside bounded instants, so
that only a few partitions are read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from shared.storage.open_jobs import published
from shared.storage.schedule_queries import MOST_COUNTED, tag_condition, tag_values

_COLUMNS = """j.id, j.schedule_id, coalesce(v.name, s.name) AS schedule_name, j.project_id, j.task_type,
    coalesce(v.task_parameters, s.task_parameters) AS task_parameters, coalesce(v.tags, s.tags) AS tags,
    j.status, j.trigger, j.scheduled_for, j.created_at, j.started_at, j.finished_at, j.attempt, j.max_attempts,
    j.next_attempt_at, j.error, j.reason, j.result, j.artifacts, j.skip_until, j.skip_count, j.schedule_version"""
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


def list_page(connection: Connection, wanted: JobFilter, page: int, page_size: int) -> tuple[list[JobRow], int]:
    """One page, newest first, and the total: exact up to MOST_COUNTED, beyond that one more than it."""
    where, values = _where(wanted)
    values |= {"limit": page_size, "offset": (page - 1) * page_size, "reach": page * page_size}
    joins = _JOINS if wanted.tags else ""
    if wanted.schedule_id is not None:
        # Each half is read backwards from its own partial index; together they are every job of the schedule.
        halves = " UNION ALL ".join(
            f"(SELECT j.id, j.scheduled_for FROM jobs j {joins} WHERE {where} AND j.trigger {kind} 'manual'"  # noqa: S608
            f" ORDER BY j.scheduled_for DESC LIMIT :reach)"
            for kind in ("<>", "=")
        )
        order = "scheduled_for DESC, id DESC"
        ids = f"SELECT id, scheduled_for FROM ({halves}) AS both_kinds ORDER BY {order} LIMIT :limit OFFSET :offset"  # noqa: S608
    else:
        order = "id DESC"
        ids = (
            f"SELECT j.id, j.scheduled_for FROM jobs j {joins} WHERE {where}"  # noqa: S608
            " ORDER BY j.id DESC LIMIT :limit OFFSET :offset"
        )
    rows = connection.execute(
        text(
            f"WITH page AS MATERIALIZED ({ids}) SELECT {_COLUMNS} FROM page"  # noqa: S608
            f" JOIN jobs j ON j.id = page.id AND j.scheduled_for = page.scheduled_for {_JOINS}"
            f" ORDER BY {', '.join('j.' + part for part in order.split(', '))}"
        ),
        values,
    ).all()
    if page == 1 and len(rows) < page_size:
        return list(rows), len(rows)
    counted = f"SELECT count(*) FROM (SELECT FROM jobs j {joins} WHERE {where} LIMIT :most) AS found"  # noqa: S608
    total = connection.execute(text(counted), values | {"most": MOST_COUNTED + 1}).scalar_one()
    return list(rows), int(total)


def _where(wanted: JobFilter) -> tuple[str, dict[str, object]]:
    parts = ["true"]
    values: dict[str, object] = {}
    if wanted.project_ids is not None:
        if len(wanted.project_ids) == 1:
            parts.append("j.project_id = :project")
            values["project"] = wanted.project_ids[0]
        else:
            parts.append("j.project_id = ANY(CAST(:projects AS bigint[]))")
            values["projects"] = list(wanted.project_ids)
    for name in ("schedule_id", "status", "task_type", "trigger"):
        value = getattr(wanted, name)
        if value is not None:
            parts.append(f"j.{name} = :{name}")
            values[name] = value
    if wanted.since is not None:
        parts.append("j.scheduled_for >= :since")
        values["since"] = wanted.since
    if wanted.until is not None:
        parts.append("j.scheduled_for <= :until")
        values["until"] = wanted.until
    for number, (name, value) in enumerate(sorted(wanted.tags.items())):
        parts.append(tag_condition("coalesce(v.tags, s.tags)", number))
        values |= tag_values(number, name, value)
    return " AND ".join(parts), values


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
