"""Statistics of schedules (table schedule_statistics): counts of ended jobs, and how the last run went.

The health service alone writes them, with the outcomes they count. A job counts once, at its end; cancelled and
skipped jobs count in neither (DESIGN section 5).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
from sqlalchemy import Connection, text


@dataclass(slots=True)
class Tally:
    """What a batch of events adds to one schedule's statistics."""

    schedule_id: int
    project_id: int
    successes: int = 0
    failures: int = 0
    duration_seconds: float = 0.0
    failures_at_end: int = 0
    """Failed jobs since the last success inside the batch."""
    last_run_at: datetime | None = None
    last_status: str | None = None
    last_error: str | None = None


# A batch that comes late must not put an older run in the place of a newer one.
_RECORD = text(
    "INSERT INTO schedule_statistics AS s (schedule_id, project_id, success_count, failure_count, consecutive_failures,"
    " total_duration_seconds, last_run_at, last_status, last_error)"
    " SELECT schedule_id, project_id, successes, failures, failures_at_end, duration_seconds, last_run_at, last_status,"
    " last_error FROM json_to_recordset(CAST(:tallies AS json)) AS t (schedule_id bigint, project_id bigint,"
    " successes bigint, failures bigint, failures_at_end integer,"
    " duration_seconds double precision, last_run_at timestamptz, last_status text, last_error text)"
    " ORDER BY schedule_id"
    " ON CONFLICT (schedule_id) DO UPDATE SET success_count = s.success_count + excluded.success_count,"
    " failure_count = s.failure_count + excluded.failure_count,"
    " consecutive_failures = excluded.consecutive_failures"
    " + CASE WHEN excluded.success_count > 0 THEN 0 ELSE s.consecutive_failures END,"
    " total_duration_seconds = s.total_duration_seconds + excluded.total_duration_seconds,"
    " last_status = CASE WHEN s.last_run_at > excluded.last_run_at THEN s.last_status ELSE excluded.last_status END,"
    " last_error = CASE WHEN s.last_run_at > excluded.last_run_at OR excluded.last_status = 'cancelled'"
    " THEN s.last_error ELSE excluded.last_error END,"
    " last_run_at = greatest(s.last_run_at, excluded.last_run_at), updated_at = clock_timestamp()"
    " RETURNING schedule_id, consecutive_failures"
)


def record(connection: Connection, tallies: Sequence[Tally]) -> dict[int, int]:
    """Add a batch, one tally a schedule; returns each schedule's consecutive failures after it."""
    if not tallies:
        return {}
    rows = connection.execute(_RECORD, {"tallies": orjson.dumps(list(tallies)).decode()})
    return dict(rows.tuples().all())
