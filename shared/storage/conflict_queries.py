"""The schedules that could conflict with one: enabled, of its project, task type and target. Called by the api."""

from collections.abc import Collection

from sqlalchemy import Connection, text

from shared.domain.conflicts import Candidates

MOST_COMPARED = 50_000
"""Schedules one is compared with: some tenths of a second, however many a project holds."""

# Columns in place of rows: ten thousand rows cost SQLAlchemy and psycopg2 three times what PostgreSQL needs for them.
_CANDIDATES = text("""
SELECT frequency, timezone, dst_gap, dst_overlap, array_agg(id), array_agg(cron_expression),
    array_agg(interval_seconds), array_agg(extract(epoch FROM start_time)::float8),
    array_agg(extract(epoch FROM end_time)::float8),
    array_agg(CASE WHEN frequency = 'interval' THEN extract(epoch FROM created_at)::float8 END)
FROM (
    SELECT * FROM schedules
    WHERE project_id = :project_id AND task_type = :task_type AND conflict_key = :conflict_key
        AND enabled AND deleted_at IS NULL AND id <> :id
        AND (end_time IS NULL OR end_time > now()) AND (start_time IS NULL OR start_time < now() + interval '8 days')
        AND (frequency <> 'once' OR start_time > now())
    LIMIT :most
) AS others
GROUP BY 1, 2, 3, 4
""")
_NAMES = text("SELECT id, name FROM schedules WHERE id = ANY(CAST(:ids AS bigint[]))")


def candidates(
    connection: Connection, schedule_id: int, project_id: int, task_type: str, conflict_key: str
) -> list[Candidates]:
    """The other schedules that work on the same target, at most MOST_COMPARED."""
    values: dict[str, object] = {"id": schedule_id, "project_id": project_id, "task_type": task_type}
    values |= {"conflict_key": conflict_key, "most": MOST_COMPARED}
    found = []
    for row in connection.execute(_CANDIDATES, values):
        frequency, timezone, dst_gap, dst_overlap, ids, *columns = row
        timings = zip(*columns, strict=True)
        found.append(Candidates(frequency, timezone, dst_gap, dst_overlap, ids, timings))
    return found


def names(connection: Connection, schedule_ids: Collection[int]) -> dict[int, str]:
    """The names of schedules."""
    return {row.id: row.name for row in connection.execute(_NAMES, {"ids": list(schedule_ids)})}
