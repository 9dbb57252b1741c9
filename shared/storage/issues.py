"""Health issues (tables health_issues, health_reports): their life, and what the api shows of them.

An issue opens when two reports in a row hold its finding and resolves when two in a row do not, so that a moment's
hiccup alerts nobody. Each change is announced on health.alerts until Kafka has it (columns `…_announced`).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, text

from shared.storage.monitor import Finding, Totals


@dataclass(frozen=True, slots=True)
class Issue:
    """An issue that was opened."""

    id: str
    kind: str
    severity: str
    schedule_id: int | None
    project_id: int | None
    since: datetime
    detail: str
    opened_at: datetime
    resolved_at: datetime | None = None


class OpenIssues(NamedTuple):
    """How many issues of a kind and severity are open."""

    kind: str
    severity: str
    of_schedule: bool
    number: int


@dataclass(frozen=True, slots=True)
class Report:
    """The last report. `bands`: enabled schedules by band of their success rate."""

    reported_at: datetime
    schedules: int
    bands: dict[str, int]


_COLUMNS = "id::text, kind, severity, schedule_id, project_id, since, detail, opened_at, resolved_at"
# Both statements see the rows as they were before: an issue is either found again or missed.
_NOTE = text("""
WITH found AS (
    SELECT * FROM jsonb_to_recordset(CAST(:findings AS jsonb)) AS f (kind text, subject text, severity text,
        detail text, since timestamptz, schedule_id bigint, project_id bigint)
), noted AS (
    INSERT INTO health_issues AS i (kind, subject, severity, detail, since, schedule_id, project_id)
    SELECT kind, subject, severity, detail, since, schedule_id, project_id FROM found ORDER BY kind, subject
    ON CONFLICT (kind, subject) WHERE resolved_at IS NULL DO UPDATE
        SET seen = i.seen + 1, missed = 0, severity = excluded.severity, detail = excluded.detail
)
UPDATE health_issues i SET missed = missed + 1
WHERE resolved_at IS NULL AND kind <> ALL(CAST(:unjudged AS text[]))
    AND NOT EXISTS (SELECT FROM found f WHERE f.kind = i.kind AND f.subject = i.subject)
""")
_OPEN = text("UPDATE health_issues SET opened_at = :now WHERE resolved_at IS NULL AND opened_at IS NULL AND seen >= 2")
_RESOLVE = text(
    "UPDATE health_issues SET resolved_at = :now WHERE resolved_at IS NULL AND opened_at IS NOT NULL AND missed >= 2"
)
_FORGET = text("DELETE FROM health_issues WHERE opened_at IS NULL AND missed >= 1")
_REPORT = text(
    "INSERT INTO health_reports (reported_at, duration_seconds, schedules, bands)"
    " VALUES (:now, :seconds, :schedules, CAST(:bands AS jsonb))"
)
_UNANNOUNCED = text(
    f"SELECT {_COLUMNS}, opening_announced FROM health_issues WHERE opened_at IS NOT NULL"  # noqa: S608 (a constant)
    " AND (NOT opening_announced OR (resolved_at IS NOT NULL AND NOT resolving_announced))"
    # What concerns everything comes before a thousand schedules that suffer from it.
    " ORDER BY schedule_id IS NOT NULL, severity, opened_at, id LIMIT 1000"
)
_ANNOUNCED = text(
    "UPDATE health_issues SET opening_announced = true, resolving_announced = resolved_at IS NOT NULL"
    " WHERE id = ANY(CAST(:ids AS uuid[]))"
)
_CURRENT = text(
    f"SELECT {_COLUMNS} FROM health_issues WHERE resolved_at IS NULL AND opened_at IS NOT NULL"  # noqa: S608 (a constant)
    " AND (CAST(:project_id AS bigint) IS NULL OR project_id = :project_id)"
    " ORDER BY severity, opened_at, id LIMIT :limit"
)
_COUNTS = text(
    "SELECT kind, severity, schedule_id IS NOT NULL AS of_schedule, count(*) AS number FROM health_issues"
    " WHERE resolved_at IS NULL AND opened_at IS NOT NULL GROUP BY 1, 2, 3"
)
_LAST = text("SELECT reported_at, schedules, bands FROM health_reports ORDER BY id DESC LIMIT 1")


def note(
    connection: Connection,
    findings: Sequence[Finding],
    totals: Totals,
    now: datetime,
    seconds: float,
    unjudged: Collection[str] = (),
) -> None:
    """Take a report in: issues open and resolve by it; those of `unjudged` kinds stay as they are."""
    rows: list[dict[str, Any]] = [
        {
            "kind": one.kind,
            "subject": one.subject,
            "severity": one.severity,
            "detail": one.detail,
            "since": one.since,
            "schedule_id": one.schedule_id,
            "project_id": one.project_id,
        }
        for one in findings
    ]
    connection.execute(_NOTE, {"findings": orjson.dumps(rows).decode(), "unjudged": list(unjudged)})
    connection.execute(_OPEN, {"now": now})
    connection.execute(_RESOLVE, {"now": now})
    connection.execute(_FORGET)
    schedules, bands = totals.enabled + totals.disabled, orjson.dumps(totals.bands).decode()
    connection.execute(_REPORT, {"now": now, "seconds": seconds, "schedules": schedules, "bands": bands})


def unannounced(connection: Connection) -> list[tuple[Issue, bool]]:
    """Issues whose opening or resolution nobody has heard of yet, with whether the opening was announced."""
    return [(_issue(row), row.opening_announced) for row in connection.execute(_UNANNOUNCED)]


def announced(connection: Connection, ids: Sequence[str]) -> None:
    """Kafka has taken them, as they stand."""
    if ids:
        connection.execute(_ANNOUNCED, {"ids": list(ids)})


def current(connection: Connection, project_id: int | None = None, limit: int = 1_000) -> list[Issue]:
    """The open issues, critical first; of one project, or all with the system's own."""
    return [_issue(row) for row in connection.execute(_CURRENT, {"project_id": project_id, "limit": limit})]


def open_counts(connection: Connection) -> list[OpenIssues]:
    """The open issues in numbers, however many there are."""
    return [OpenIssues(row.kind, row.severity, row.of_schedule, row.number) for row in connection.execute(_COUNTS)]


def last_report(connection: Connection) -> Report | None:
    """When the monitor last reported, and what it saw; None before its first report."""
    row = connection.execute(_LAST).first()
    return None if row is None else Report(row.reported_at, row.schedules, dict(row.bands))


def _issue(row: Any) -> Issue:
    return Issue(
        row.id,
        row.kind,
        row.severity,
        row.schedule_id,
        row.project_id,
        row.since,
        row.detail,
        row.opened_at,
        row.resolved_at,
    )
