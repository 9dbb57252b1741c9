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

LOOKED_AT_FOR_EACH = 10
"""Open jobs older than that, looked at in one turn for each that may be ended: millions may be waiting for a worker. A
caller whose turn did not end in time asks for fewer.
"""

# Jobs that run are few. What else is open may be millions, all of today where no worker came: so the old ones alone,
# whose partitions are picked by `now` when it runs, in the order of jobs_open, some a turn. A claim that ended so long
# ago is that of a job at least as old.
_OLD = f"""
SELECT schedule_id, held, scheduled_for, id, status FROM jobs
WHERE status IN ('queued', 'running', 'retrying')
    AND scheduled_for < %(now)s::timestamptz - interval '{RECORD_HOURS} hours'
    AND (schedule_id, held, scheduled_for) > (%(schedule)s::bigint, %(held)s::boolean, %(instant)s::timestamptz)
ORDER BY schedule_id, held, scheduled_for LIMIT %(most)s::integer
"""  # noqa: S608 (a constant)
# A look for each job that may be meant (OFFSET 0): with all of the claims or schedules joined, PostgreSQL would walk a
# million schedules for a handful of open jobs.
_FIND = f"""
SELECT j.schedule_id, j.id, j.attempt, j.scheduled_for, j.project_id, j.task_type, j.max_attempts,
    c.job_id IS NOT NULL, c.begun_at IS NOT NULL, coalesce(c.will_retry, false), s.retry_first_seconds,
    s.retry_cap_seconds
FROM (
    (SELECT * FROM jobs
     WHERE status = 'running' AND started_at < %(now)s::timestamptz - interval '{GRACE_SECONDS} seconds'
     ORDER BY status, scheduled_for, id)
    UNION ALL
    SELECT q.* FROM unnest(%(ids)s::bigint[], %(instants)s::timestamptz[]) AS old (id, scheduled_for)
    CROSS JOIN LATERAL (
        SELECT * FROM jobs WHERE id = old.id AND scheduled_for = old.scheduled_for OFFSET 0
    ) AS q WHERE q.status = 'queued'
) AS j
LEFT JOIN LATERAL (
    SELECT * FROM run_claims WHERE job_id = j.id AND attempt = j.attempt OFFSET 0
) AS c ON true
CROSS JOIN LATERAL (
    SELECT {RUN_POLICY} FROM schedules AS s
    LEFT JOIN schedule_versions AS v ON v.schedule_id = s.id AND v.version = j.schedule_version
    WHERE s.id = j.schedule_id OFFSET 0
) AS s
WHERE c.ended_at < %(now)s::timestamptz - interval '{RECORD_HOURS} hours'
    OR (c.job_id IS NULL AND j.status = 'running'
        AND j.started_at < %(now)s::timestamptz - interval '1 second' * (s.timeout_seconds + {GRACE_SECONDS}))
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


class Place(NamedTuple):
    """How far the old open jobs have been looked at; before all of them by default."""

    schedule_id: int = 0
    held: bool = False
    scheduled_for: str = "-infinity"


def find(session: Session, now: datetime, after: Place, limit: int) -> tuple[list[Unended], Place]:
    """Jobs whose attempt is over without an end on record, and where to go on: the first place after the last job.

    Looks at every job that runs, and at LOOKED_AT_FOR_EACH times `limit` of the old ones.
    """
    here = {"schedule": after.schedule_id, "held": after.held, "instant": after.scheduled_for}
    most = LOOKED_AT_FOR_EACH * limit
    old = session.prepared(_OLD, {"now": now, **here, "most": most})
    reached = Place()
    if len(old) == most:
        schedule_id, held, scheduled_for = old[-1][:3]
        reached = Place(schedule_id, held, scheduled_for.isoformat())
    queued = [(job_id, instant) for _, _, instant, job_id, status in old if status == "queued"]
    values = {
        "now": now,
        "limit": limit,
        "ids": array(job_id for job_id, _ in queued),
        "instants": array(f'"{instant.isoformat()}"' for _, instant in queued),
    }
    found = list(map(Unended._make, session.prepared(_FIND, values)))
    # More than one turn may end were found: the same jobs are looked at again, those ended now are no more among them.
    return found, after if len(found) == limit else reached


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
