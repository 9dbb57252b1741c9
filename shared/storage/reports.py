"""What reports of a project over a period are made of. Read-only; called by the worker's export task.

A period is half open, [since, until), and bounds `scheduled_for`, so that a report written again later says the same.
Everything of one report is read in one snapshot: its totals and its rows agree.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, text

_CHUNK = 1_000
"""Rows fetched at once from a server-side cursor: what a stream holds in memory."""
_LONGEST = "15min"
_LONGEST_PAUSE = "3min"


@dataclass(frozen=True, slots=True)
class Scope:
    """Which rows a report is about."""

    project_id: int
    since: datetime
    until: datetime

    def values(self) -> dict[str, object]:
        """As the statements below name them."""
        return {"project_id": self.project_id, "since": self.since, "until": self.until}

    def before(self) -> "Scope":
        """The period of equal length before this one."""
        return Scope(self.project_id, self.since - (self.until - self.since), self.since)


@dataclass(frozen=True, slots=True)
class Tally:
    """How a group of jobs ended. Counts; seconds are null where nothing has run."""

    succeeded: int
    failed: int
    cancelled: int
    skipped: int
    open: int
    average_seconds: float | None
    slow_seconds: float | None
    """95 of 100 runs were faster."""

    @property
    def runs(self) -> int:
        """What counts as a run: DESIGN section 5."""
        return self.succeeded + self.failed

    @property
    def success_rate(self) -> float | None:
        """Percent with one decimal; None before the first run."""
        return round(100 * self.succeeded / self.runs, 1) if self.runs else None


@dataclass(frozen=True, slots=True)
class Analysis:
    """An analysis that succeeded, and the SARIF files it left."""

    job_id: int
    attempt: int
    scheduled_for: datetime
    finished_at: datetime | None
    repository_id: int
    repository: str
    analysis_type: str
    files: tuple[str, ...]


# A skip may stand for a whole range of occurrences.
_COUNTS = """
    count(*) FILTER (WHERE j.status = 'succeeded') AS succeeded,
    count(*) FILTER (WHERE j.status = 'failed') AS failed,
    count(*) FILTER (WHERE j.status = 'cancelled') AS cancelled,
    coalesce(sum(coalesce(j.skip_count, 1)) FILTER (WHERE j.status = 'skipped'), 0)::bigint AS skipped,
    count(*) FILTER (WHERE j.status IN ('queued', 'running', 'retrying')) AS open"""
_SECONDS = "extract(epoch FROM j.finished_at - j.started_at)"
_RAN = "j.status IN ('succeeded', 'failed') AND j.finished_at >= j.started_at"
_TIMES = f"""
    (avg({_SECONDS}) FILTER (WHERE {_RAN}))::double precision AS average_seconds,
    (percentile_cont(0.95) WITHIN GROUP (ORDER BY {_SECONDS}) FILTER (WHERE {_RAN}))::double precision
        AS slow_seconds"""
_IN_SCOPE = "j.project_id = :project_id AND j.scheduled_for >= :since AND j.scheduled_for < :until"
_NAMES = """LEFT JOIN schedule_versions v ON v.schedule_id = j.schedule_id AND v.version = j.schedule_version
    LEFT JOIN schedules s ON s.id = j.schedule_id"""

_PROJECT = text("SELECT name FROM projects WHERE id = :project_id")
_TALLY = text(f"SELECT {_COUNTS}, {_TIMES} FROM jobs j WHERE {_IN_SCOPE}")  # noqa: S608
_BY_TASK_TYPE = text(
    f"SELECT j.task_type, {_COUNTS}, {_TIMES} FROM jobs j WHERE {_IN_SCOPE} GROUP BY j.task_type ORDER BY j.task_type"  # noqa: S608
)
_BY_BUCKET = text(
    f"SELECT date_bin(:width, j.scheduled_for, :since) AS bucket, {_COUNTS}, {_TIMES}"  # noqa: S608
    f" FROM jobs j WHERE {_IN_SCOPE} GROUP BY bucket ORDER BY bucket"
)
_RUNS = text(
    f"SELECT j.id AS job_id, j.schedule_id, coalesce(v.name, s.name) AS schedule_name, j.task_type, j.trigger,"  # noqa: S608
    f" j.status, j.reason, j.scheduled_for, j.started_at, j.finished_at,"
    f" ({_SECONDS})::double precision AS duration_seconds, j.attempt, j.error, j.skip_count"
    f" FROM jobs j {_NAMES} WHERE {_IN_SCOPE} ORDER BY j.scheduled_for, j.id"
)
_FAILURES = text(
    f"SELECT j.id AS job_id, coalesce(v.name, s.name) AS schedule_name, j.task_type, j.scheduled_for, j.reason,"  # noqa: S608
    f" j.error FROM jobs j {_NAMES} WHERE {_IN_SCOPE} AND j.status = 'failed'"
    f" ORDER BY j.scheduled_for DESC, j.id DESC LIMIT :most"
)
_SCHEDULE_COUNT = text(
    "SELECT count(*) AS total, count(*) FILTER (WHERE enabled) AS enabled FROM schedules"
    " WHERE project_id = :project_id AND deleted_at IS NULL AND created_at < :until"
)
_SCHEDULES = f"""
    SELECT s.id AS schedule_id, s.name, s.task_type, s.frequency, s.cron_expression, s.interval_seconds, s.timezone,
        s.enabled, coalesce(g.succeeded, 0) AS succeeded, coalesce(g.failed, 0) AS failed,
        coalesce(g.cancelled, 0) AS cancelled, coalesce(g.skipped, 0) AS skipped, coalesce(g.open, 0) AS open,
        g.average_seconds, g.slow_seconds, t.last_run_at, t.last_status, t.last_error, n.next_run_at
    FROM schedules s
    LEFT JOIN (SELECT j.schedule_id, {_COUNTS}, {_TIMES} FROM jobs j WHERE {_IN_SCOPE} GROUP BY j.schedule_id) AS g
        ON g.schedule_id = s.id
    LEFT JOIN schedule_statistics t ON t.schedule_id = s.id
    LEFT JOIN schedule_timers n ON n.schedule_id = s.id
    WHERE s.project_id = :project_id AND s.deleted_at IS NULL AND s.created_at < :until"""  # noqa: S608
_ALL_SCHEDULES = text(f"{_SCHEDULES} ORDER BY s.id")
_FAILING_SCHEDULES = text(f"{_SCHEDULES} AND g.failed > 0 ORDER BY g.failed DESC, s.id LIMIT :most")
_ANALYSES = text(
    f"SELECT j.id, j.attempt, j.scheduled_for, j.finished_at, r.id AS repository_id, r.name AS repository,"  # noqa: S608
    f" coalesce(p.task_parameters->>'analysis_type', 'full') AS analysis_type, j.artifacts"
    f" FROM jobs j {_NAMES}"
    f" CROSS JOIN LATERAL (SELECT coalesce(v.task_parameters, s.task_parameters) AS task_parameters) AS p"
    f" JOIN repositories r ON r.id = CASE WHEN p.task_parameters->>'repository_id' ~ '^[0-9]{{1,18}}$'"
    f" THEN (p.task_parameters->>'repository_id')::bigint END AND r.project_id = j.project_id"
    f" WHERE {_IN_SCOPE} AND j.task_type = 'analysis' AND j.status = 'succeeded'"
    f" AND (CAST(:repository_id AS bigint) IS NULL OR r.id = :repository_id)"
    f" ORDER BY r.name, r.id, j.scheduled_for DESC, j.id DESC"
)


def freeze(connection: Connection) -> None:
    """Give the transaction one snapshot for all its statements. Must be its first statement.

    A long stream may take longer than a transaction elsewhere, and a writer may pause between two rows: to compress,
    or because the machine is busy. It holds no row's lock, only its snapshot, and that for these bounds at most.
    """
    connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
    connection.execute(text("SET LOCAL transaction_timeout = 0"))  # or the clock that already runs is kept
    connection.execute(text(f"SET LOCAL transaction_timeout = '{_LONGEST}'"))
    connection.execute(text(f"SET LOCAL statement_timeout = '{_LONGEST}'"))
    connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{_LONGEST_PAUSE}'"))


def project_name(connection: Connection, project_id: int) -> str | None:
    """None where there is no such project."""
    return connection.execute(_PROJECT, {"project_id": project_id}).scalar_one_or_none()


def tally(connection: Connection, scope: Scope) -> Tally:
    """All jobs of the period."""
    return _tally(connection.execute(_TALLY, scope.values()).one())


def by_task_type(connection: Connection, scope: Scope) -> list[tuple[str, Tally]]:
    """The jobs of the period by task type."""
    return [(row.task_type, _tally(row)) for row in connection.execute(_BY_TASK_TYPE, scope.values())]


def by_bucket(connection: Connection, scope: Scope, width: timedelta) -> list[tuple[datetime, Tally]]:
    """The jobs of the period in equal parts of it, counted from its start; parts without jobs are there too."""
    found = {row.bucket: _tally(row) for row in connection.execute(_BY_BUCKET, scope.values() | {"width": width})}
    parts, at = [], scope.since
    while at < scope.until:
        parts.append((at, found.get(at, Tally(0, 0, 0, 0, 0, None, None))))
        at += width
    return parts


def schedule_count(connection: Connection, scope: Scope) -> tuple[int, int]:
    """How many schedules the project has, and how many of them are enabled."""
    row = connection.execute(_SCHEDULE_COUNT, scope.values()).one()
    return row.total, row.enabled


def runs(connection: Connection, scope: Scope) -> Iterator[Row[Any]]:
    """Every job of the period, oldest first; streamed."""
    return _stream(connection, _RUNS, scope.values())


def failures(connection: Connection, scope: Scope, most: int) -> Sequence[Row[Any]]:
    """The newest failed jobs."""
    return connection.execute(_FAILURES, scope.values() | {"most": most}).all()


def schedules(connection: Connection, scope: Scope) -> Iterator[tuple[Row[Any], Tally]]:
    """Every schedule with its jobs of the period, by id; streamed."""
    return ((row, _tally(row)) for row in _stream(connection, _ALL_SCHEDULES, scope.values()))


def failing_schedules(connection: Connection, scope: Scope, most: int) -> list[tuple[Row[Any], Tally]]:
    """The schedules with most failures in the period."""
    rows = connection.execute(_FAILING_SCHEDULES, scope.values() | {"most": most})
    return [(row, _tally(row)) for row in rows]


def analyses(
    connection: Connection, scope: Scope, repository_id: int | None, media_type: str = "application/sarif+json"
) -> list[Analysis]:
    """The analyses that tell how repositories stood at the period's end, by repository, newest first.

    The newest of each kind; one older than a full analysis of the same repository is told by that one already.
    """
    known: dict[int, set[str]] = {}
    found = []
    for row in connection.execute(_ANALYSES, scope.values() | {"repository_id": repository_id}):
        told = known.setdefault(row.repository_id, set())
        if "full" in told or row.analysis_type in told:
            continue
        told.add(row.analysis_type)
        files = tuple(one["name"] for one in row.artifacts or () if one.get("media_type") == media_type)
        found.append(
            Analysis(
                row.id,
                row.attempt,
                row.scheduled_for,
                row.finished_at,
                row.repository_id,
                row.repository,
                row.analysis_type,
                files,
            )
        )
    return found


def _stream(connection: Connection, statement: Any, values: dict[str, object]) -> Iterator[Row[Any]]:
    options = {"stream_results": True, "max_row_buffer": _CHUNK}
    result = connection.execute(statement.execution_options(**options), values)
    for chunk in result.partitions(_CHUNK):  # without a size it would be everything at once
        yield from chunk


def _tally(row: Row[Any]) -> Tally:
    return Tally(row.succeeded, row.failed, row.cancelled, row.skipped, row.open, row.average_seconds, row.slow_seconds)
