"""Reading what the health monitor has found (tables health_issues, health_reports). Called by the api."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, text

MOST_LISTED = 1_000
"""Issues one answer names."""
_REPORT = text("SELECT reported_at, schedules FROM health_reports ORDER BY id DESC LIMIT 1")
_OPEN = (
    "FROM health_issues WHERE opened_at IS NOT NULL AND resolved_at IS NULL"
    " AND (CAST(:projects AS bigint[]) IS NULL OR project_id = ANY(CAST(:projects AS bigint[])))"
)
_ISSUES = text(
    f"SELECT id::text AS id, kind, severity, schedule_id, project_id, since, detail {_OPEN}"
    f" ORDER BY schedule_id IS NOT NULL, severity, since LIMIT {MOST_LISTED}"
)
_COUNT = text(f"SELECT count(*) {_OPEN}")


def last_report(connection: Connection) -> Row[Any] | None:
    """When the monitor last reported, and on how many schedules; None before its first report."""
    return connection.execute(_REPORT).one_or_none()


def open_issues(connection: Connection, project_ids: Sequence[int] | None) -> tuple[Sequence[Row[Any]], int]:
    """Open issues of some projects, or all, and how many there are.

    The system's own come first, then the critical and oldest; MOST_LISTED of them at most.
    """
    visible = {"projects": None if project_ids is None else list(project_ids)}
    found = connection.execute(_ISSUES, visible).all()
    if len(found) < MOST_LISTED:
        return found, len(found)
    return found, int(connection.execute(_COUNT, visible).scalar_one())
