"""Cancelling jobs from the dispatcher: block attempts that nobody has started yet (table run_claims).

The same rule as claims.block, set-based and on a Session: a blocking claim is inserted first, so that no worker can
start the attempt any more; where a worker was first, it is asked to stop instead.
"""

from collections.abc import Sequence
from datetime import datetime

from shared.storage.session import Session, array

_BLOCK = """
INSERT INTO run_claims (job_id, attempt, schedule_id, scheduled_for, worker, lease_until, ended_at, will_retry)
SELECT job_id, attempt, schedule_id, scheduled_for, %(by)s, clock_timestamp(), clock_timestamp(), false
FROM unnest(%(jobs)s::bigint[], %(attempts)s::smallint[], %(schedules)s::bigint[], %(instants)s::timestamptz[])
    AS d (job_id, attempt, schedule_id, scheduled_for)
ORDER BY job_id, attempt
ON CONFLICT DO NOTHING
RETURNING job_id
"""


def block(session: Session, attempts: Sequence[tuple[int, int, int, datetime]], by: str) -> set[int]:
    """Block attempts (job_id, attempt, schedule_id, scheduled_for); returns the jobs that no worker can start now."""
    rows = session.execute(
        _BLOCK,
        {
            "by": by,
            "jobs": array(job for job, _, _, _ in attempts),
            "attempts": array(attempt for _, attempt, _, _ in attempts),
            "schedules": array(schedule for _, _, schedule, _ in attempts),
            "instants": array(f'"{instant.isoformat()}"' for _, _, _, instant in attempts),
        },
    )
    return {row[0] for row in rows}
