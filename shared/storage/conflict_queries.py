"""The schedules that could conflict with one: enabled, of its project, task type and target. Called by the api."""

from collections.abc import Collection

from sqlalchemy import Connection, text

from shared.domain.conflicts import MOST_REPORTED, Candidates

# Equal timings come as one row: a project has many schedules and few timings.
_CANDIDATES = text(f"""
SELECT frequency, cron_expression, interval_seconds, timezone, start_time, end_time,
    CASE WHEN frequency = 'interval' THEN created_at END AS anchor, dst_gap, dst_overlap,
    (array_agg(id))[1:{MOST_REPORTED}] AS ids
FROM schedules
WHERE project_id = :project_id AND task_type = :task_type AND conflict_key = :conflict_key
    AND enabled AND deleted_at IS NULL AND id <> :id
    AND (end_time IS NULL OR end_time > now()) AND (start_time IS NULL OR start_time < now() + interval '8 days')
    AND (frequency <> 'once' OR start_time > now())
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
LIMIT 20000
""")  # noqa: S608
_NAMES = text("SELECT id, name FROM schedules WHERE id = ANY(CAST(:ids AS bigint[]))")


def candidates(
    connection: Connection, schedule_id: int, project_id: int, task_type: str, conflict_key: str
) -> list[Candidates]:
    """The other schedules that work on the same target, by timing."""
    values = {"id": schedule_id, "project_id": project_id, "task_type": task_type, "conflict_key": conflict_key}
    return [Candidates(tuple(row[:9]), row[9]) for row in connection.execute(_CANDIDATES, values)]


def names(connection: Connection, schedule_ids: Collection[int]) -> dict[int, str]:
    """The names of schedules."""
    return {row.id: row.name for row in connection.execute(_NAMES, {"ids": list(schedule_ids)})}
