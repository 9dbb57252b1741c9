"""Attempts whose end nobody will tell any more (tables jobs, run_claims). Called by the dispatcher's rescue.

An end is an event in Kafka, and an event can be lost: a topic that is made anew, a broker without its disk, a result
that was put aside. And a worker elsewhere may say that it begins, without a claim, and die. Both would leave a job open
for ever, and its schedule's overlap with it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from shared.storage.session import Session, array
from shared.storage.versions import RUN_POLICY

RECORD_HOURS = 24
"""So long after its claim was marked ended, an end that is not on record counts as lost."""
GRACE_SECONDS = 60
"""How much longer than its timeout an unclaimed run may take until it counts as timed out."""

# A look for each job that may be meant (OFFSET 0): with all of the claims or schedules joined, PostgreSQL would walk a
# million schedules for a handful of open jobs. A claim that ended so long ago is that of a job at least as old.
_FIND = f"""
SELECT j.schedule_id, j.id, j.attempt, j.scheduled_for, j.project_id, j.task_type, j.max_attempts,
    c.job_id IS NOT NULL, c.begun_at IS NOT NULL, coalesce(c.will_retry, false), s.retry_first_seconds,
    s.retry_cap_seconds
FROM (
    SELECT * FROM jobs
    WHERE status IN ('queued', 'running')
        AND (scheduled_for < clock_timestamp() - interval '{RECORD_HOURS} hours'
            OR (status = 'running' AND started_at < clock_timestamp() - interval '{GRACE_SECONDS} seconds'))
) AS j
LEFT JOIN LATERAL (
    SELECT * FROM run_claims WHERE job_id = j.id AND attempt = j.attempt OFFSET 0
) AS c ON true
CROSS JOIN LATERAL (
    SELECT {RUN_POLICY} FROM schedules AS s
    LEFT JOIN schedule_versions AS v ON v.schedule_id = s.id AND v.version = j.schedule_version
    WHERE s.id = j.schedule_id OFFSET 0
) AS s
WHERE c.ended_at < clock_timestamp() - interval '{RECORD_HOURS} hours'
    OR (c.job_id IS NULL AND j.status = 'running'
        AND j.started_at < clock_timestamp() - interval '1 second' * (s.timeout_seconds + {GRACE_SECONDS}))
LIMIT %(limit)s
"""  # noqa: S608 (constants)
# A claim that is marked ended is marked anew, so that it is looked at again a day later and not at once.
_CLOSE = """
INSERT INTO run_claims AS c (job_id, attempt, schedule_id, scheduled_for, worker, lease_until, ended_at, will_retry)
SELECT job_id, attempt, schedule_id, scheduled_for, %(by)s, clock_timestamp(), clock_timestamp(), will_retry
FROM unnest(%(jobs)s::bigint[], %(attempts)s::smallint[], %(schedules)s::bigint[], %(instants)s::timestamptz[],
    %(retries)s::boolean[]) AS d (job_id, attempt, schedule_id, scheduled_for, will_retry)
ORDER BY job_id, attempt
ON CONFLICT (job_id, attempt) DO UPDATE SET ended_at = excluded.ended_at WHERE c.ended_at IS NOT NULL
RETURNING job_id
"""


class Unended(NamedTuple):
    """An open attempt that is over. `claimed`: its claim is marked ended; `begun`: a worker has had it."""

    schedule_id: int
    job_id: int
    attempt: int
    scheduled_for: datetime
    project_id: int
    task_type: str
    max_attempts: int
    claimed: bool
    begun: bool
    will_retry: bool
    retry_first_seconds: float
    retry_cap_seconds: float


def find(session: Session, limit: int) -> list[Unended]:
    """Jobs whose attempt is over without an end on record. Looks at every open job."""
    return list(map(Unended._make, session.prepared(_FIND, {"limit": limit})))


def close(session: Session, attempts: Sequence[tuple[Unended, bool]], by: str) -> set[int]:
    """Mark these (with whether another attempt follows) ended; returns the jobs that nobody has claimed meanwhile."""
    rows = session.execute(
        _CLOSE,
        {
            "by": by,
            "jobs": array(one.job_id for one, _ in attempts),
            "attempts": array(one.attempt for one, _ in attempts),
            "schedules": array(one.schedule_id for one, _ in attempts),
            "instants": array(f'"{one.scheduled_for.isoformat()}"' for one, _ in attempts),
            "retries": array("t" if will_retry else "f" for _, will_retry in attempts),
        },
    )
    return {row[0] for row in rows}
