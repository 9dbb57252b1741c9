"""What the metrics of single schedules are made from: stored statistics, so that counters go on after a restart."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from shared.storage.issues import OpenIssues, open_counts


@dataclass(frozen=True, slots=True)
class ScheduleFigures:
    """One schedule's statistics."""

    schedule_id: int
    project_id: int
    name: str
    task_type: str
    enabled: bool
    successes: int
    failures: int
    duration_seconds: float
    last_run_at: datetime | None


@dataclass(frozen=True, slots=True)
class Figures:
    """All schedules and open issues in numbers, and as many single schedules as the limit allows."""

    enabled: int
    disabled: int
    schedules: tuple[ScheduleFigures, ...]
    issues: tuple[OpenIssues, ...] = ()

    @property
    def cut(self) -> int:
        """Schedules without metrics of their own."""
        return self.enabled + self.disabled - len(self.schedules)


# Enabled ones first, in the order of their ids: a stable choice, so that series do not come and go.
_SCHEDULES = text("""
SELECT s.id, s.project_id, s.name, s.task_type, s.enabled, coalesce(t.success_count, 0) AS successes,
    coalesce(t.failure_count, 0) AS failures, coalesce(t.total_duration_seconds, 0) AS duration_seconds, t.last_run_at
FROM (
    SELECT * FROM (SELECT * FROM schedules WHERE enabled AND deleted_at IS NULL ORDER BY id LIMIT :limit) AS a
    UNION ALL
    SELECT * FROM (SELECT * FROM schedules WHERE NOT enabled AND deleted_at IS NULL ORDER BY id LIMIT :limit) AS b
    LIMIT :limit
) AS s
LEFT JOIN schedule_statistics t ON t.schedule_id = s.id
""")
# Counts kept by triggers; project 0 stands for all. Counting a million schedules every quarter of a minute is a waste.
_COUNTS = text(
    "SELECT CAST(coalesce(sum(schedules) FILTER (WHERE enabled), 0) AS bigint) AS enabled,"
    " CAST(coalesce(sum(schedules) FILTER (WHERE NOT enabled), 0) AS bigint) AS disabled"
    " FROM schedule_counts WHERE project_id = 0"
)


def figures(connection: Connection, limit: int) -> Figures:
    """Read them; at most `limit` single schedules."""
    counts = connection.execute(_COUNTS).one()
    rows = connection.execute(_SCHEDULES, {"limit": limit})
    return Figures(
        counts.enabled,
        counts.disabled,
        tuple(
            ScheduleFigures(
                row.id,
                row.project_id,
                row.name,
                row.task_type,
                row.enabled,
                row.successes,
                row.failures,
                row.duration_seconds,
                row.last_run_at,
            )
            for row in rows
        ),
        tuple(open_counts(connection)),
    )
