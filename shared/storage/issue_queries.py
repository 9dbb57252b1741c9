"""Reading what the health monitor has found (tables health_issues, health_reports). Called by the api."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, text

_REPORT = text("SELECT reported_at, schedules FROM health_reports ORDER BY id DESC LIMIT 1")
_ISSUES = text(
    "SELECT id::text AS id, kind, severity, schedule_id, project_id, since, detail FROM health_issues"
    " WHERE opened_at IS NOT NULL AND resolved_at IS NULL"
    " AND (CAST(:projects AS bigint[]) IS NULL OR project_id = ANY(CAST(:projects AS bigint[])))"
    " ORDER BY schedule_id IS NOT NULL, severity, since LIMIT 1000"
)


def last_report(connection: Connection) -> Row[Any] | None:
    """When the monitor last reported, and on how many schedules; None before its first report."""
    return connection.execute(_REPORT).one_or_none()


def open_issues(connection: Connection, project_ids: Sequence[int] | None) -> Sequence[Row[Any]]:
    """Open issues of some projects, or all: the system's own first, then the critical and oldest."""
    visible = {"projects": None if project_ids is None else list(project_ids)}
    return connection.execute(_ISSUES, visible).all()
