"""What the rescue looks for: retries that are due, held jobs that may go, lost workers, jobs nobody started.

Every statement takes only rows that still are as described, so a repeat, or a second dispatcher, changes nothing. They
run in a transaction behind the leader's fence. Index scans are pinned for the same reason as in dispatch.py.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from shared.events.due import DueRun, RunPolicy
from shared.storage.claims import STOP
from shared.storage.open_jobs import OpenJob, published
from shared.storage.session import Session, array
from shared.storage.versions import QUEUE_TIMEOUT, RUN_POLICY, policy

# Everything that may come up at any moment, in one statement a second. Each part is a step of an index of its own.
_LOOK = """
SELECT clock_timestamp(),
    (SELECT next_attempt_at FROM jobs WHERE status = 'retrying' ORDER BY next_attempt_at LIMIT 1),
    (SELECT true FROM jobs WHERE held AND status = 'queued' ORDER BY schedule_id, scheduled_for LIMIT 1),
    (SELECT true FROM run_claims WHERE ended_at IS NULL AND lease_until < clock_timestamp() ORDER BY worker LIMIT 1)
"""
_RETRIES_DUE = """
SELECT id, scheduled_for FROM jobs WHERE status = 'retrying' AND next_attempt_at <= %(now)s
ORDER BY next_attempt_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""
# Somebody wanted the job to stop and its attempt failed instead: its next one is blocked, and need not be waited for.
_RETRIES_BLOCKED = f"""
SELECT j.id, j.scheduled_for FROM jobs AS j JOIN run_claims AS c ON c.job_id = j.id AND c.attempt = j.attempt + 1
WHERE j.status = 'retrying' AND starts_with(c.worker, '{STOP}')
ORDER BY j.next_attempt_at LIMIT %(limit)s FOR UPDATE OF j SKIP LOCKED
"""  # noqa: S608 (a constant)
_RETRY = f"""
WITH moved AS (
    UPDATE jobs AS j SET status = 'queued', attempt = j.attempt + 1, next_attempt_at = NULL, started_at = NULL,
        finished_at = NULL, result = NULL, artifacts = NULL,
        never_started_at = %(now)s::timestamptz + interval '1 second' * {QUEUE_TIMEOUT}
    FROM unnest(%(ids)s::bigint[], %(instants)s::timestamptz[]) AS due (id, scheduled_for)
    WHERE j.id = due.id AND j.scheduled_for = due.scheduled_for AND j.status = 'retrying'
    RETURNING j.id, j.attempt, j.schedule_id, j.project_id, j.task_type, j.scheduled_for, j.schedule_version, j.trigger,
        j.max_attempts
)
"""  # noqa: S608 (a constant)
_WITH_DEFINITION = f"""
SELECT moved.*, coalesce(v.name, s.name), coalesce(v.task_parameters, s.task_parameters)::text,
    coalesce(v.tags, s.tags)::text, {RUN_POLICY}, b.worker
FROM moved JOIN schedules AS s ON s.id = moved.schedule_id
LEFT JOIN schedule_versions AS v ON v.schedule_id = moved.schedule_id AND v.version = moved.schedule_version
LEFT JOIN run_claims AS b ON b.job_id = moved.id AND b.attempt = moved.attempt AND starts_with(b.worker, '{STOP}')
ORDER BY moved.schedule_id, moved.scheduled_for
"""  # noqa: S608 (a constant)
# From schedule to schedule that has held jobs, so many of them: the oldest one that nobody has cancelled, where the
# schedule has nothing open and published. Its timer is locked first: the tick judges overlap under the same lock.
_HELD = f"""
WITH RECURSIVE walk AS (
    (SELECT schedule_id FROM jobs WHERE held AND status = 'queued' AND schedule_id > %(after)s
     ORDER BY schedule_id, scheduled_for LIMIT 1)
    UNION ALL
    SELECT later.schedule_id FROM walk CROSS JOIN LATERAL (
        SELECT schedule_id FROM jobs WHERE held AND status = 'queued' AND schedule_id > walk.schedule_id
        ORDER BY schedule_id, scheduled_for LIMIT 1
    ) AS later
)
SELECT walked.schedule_id, h.id, h.attempt, h.schedule_id, h.project_id, h.task_type, h.scheduled_for,
    (SELECT least(h.created_at, h.scheduled_for + s.jitter_seconds * interval '1 second')
        + {policy("start_deadline_seconds")} * interval '1 second'
     FROM schedules AS s
     LEFT JOIN schedule_versions AS v ON v.schedule_id = s.id AND v.version = h.schedule_version
     WHERE s.id = h.schedule_id)
FROM (SELECT schedule_id FROM walk LIMIT %(limit)s) AS walked
LEFT JOIN LATERAL (
    SELECT h.* FROM jobs AS h LEFT JOIN run_claims AS hc ON hc.job_id = h.id AND hc.attempt = h.attempt
    WHERE h.schedule_id = walked.schedule_id AND h.held AND h.status = 'queued' AND hc.job_id IS NULL
        AND NOT {published("walked.schedule_id")}
    ORDER BY h.schedule_id, h.scheduled_for LIMIT 1
) AS h ON true
"""  # noqa: S608 (constants)
_LOCK_TIMERS = """
SELECT schedule_id FROM schedule_timers WHERE schedule_id = ANY(%(ids)s::bigint[])
ORDER BY schedule_id FOR UPDATE SKIP LOCKED
"""
_RELEASE = f"""
WITH moved AS (
    UPDATE jobs AS j SET held = false,
        never_started_at = %(now)s::timestamptz + interval '1 second' * {QUEUE_TIMEOUT}
    FROM unnest(%(ids)s::bigint[], %(instants)s::timestamptz[]) AS d (id, scheduled_for)
    WHERE j.id = d.id AND j.scheduled_for = d.scheduled_for AND j.held AND j.status = 'queued'
    RETURNING j.id, j.attempt, j.schedule_id, j.project_id, j.task_type, j.scheduled_for, j.schedule_version, j.trigger,
        j.max_attempts
)
"""  # noqa: S608 (a constant)
_AS_THEY_ARE = """
WITH moved AS (
    SELECT j.id, j.attempt, j.schedule_id, j.project_id, j.task_type, j.scheduled_for, j.schedule_version, j.trigger,
        j.max_attempts
    FROM unnest(%(ids)s::bigint[], %(instants)s::timestamptz[]) AS d (id, scheduled_for)
    JOIN jobs AS j ON j.id = d.id AND j.scheduled_for = d.scheduled_for
)
"""
_LEASES_OVER = """
SELECT job_id FROM run_claims WHERE ended_at IS NULL AND lease_until < clock_timestamp()
ORDER BY worker LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""
_LOST = f"""
WITH lost AS (
    SELECT job_id, attempt FROM run_claims
    WHERE job_id = ANY(%(jobs)s::bigint[]) AND ended_at IS NULL AND lease_until < clock_timestamp()
)
SELECT c.job_id, c.attempt, c.schedule_id, c.scheduled_for, c.worker, c.begun_at, c.claimed_at,
    j.project_id, j.task_type, j.max_attempts, {policy("retry_first_seconds")}, {policy("retry_cap_seconds")},
    j.status, j.attempt, b.worker
FROM lost JOIN run_claims AS c ON c.job_id = lost.job_id AND c.attempt = lost.attempt
LEFT JOIN run_claims AS b ON b.job_id = c.job_id AND b.attempt = c.attempt + 1 AND starts_with(b.worker, '{STOP}')
LEFT JOIN jobs AS j ON j.id = c.job_id AND j.scheduled_for = c.scheduled_for
LEFT JOIN schedules AS s ON s.id = c.schedule_id
LEFT JOIN schedule_versions AS v ON v.schedule_id = j.schedule_id AND v.version = j.schedule_version
ORDER BY c.job_id, c.attempt
"""  # noqa: S608 (a constant)
_END_LOST = """
UPDATE run_claims AS c SET ended_at = clock_timestamp(), will_retry = d.will_retry
FROM unnest(%(jobs)s::bigint[], %(attempts)s::smallint[], %(retries)s::boolean[]) AS d (job_id, attempt, will_retry)
WHERE c.job_id = d.job_id AND c.attempt = d.attempt AND c.ended_at IS NULL
"""
# Those that run although the ledger does not know it yet (health is away) are at the head of the index until it does.
_NEVER_STARTED = """
SELECT j.schedule_id, j.id, j.attempt, j.scheduled_for, j.held, j.project_id, j.task_type
FROM (
    SELECT * FROM jobs WHERE status = 'queued' AND NOT held AND never_started_at < %(now)s
    ORDER BY never_started_at LIMIT 10 * %(limit)s::integer
) AS j
WHERE NOT EXISTS (SELECT 1 FROM run_claims AS c WHERE c.job_id = j.id AND c.attempt = j.attempt)
LIMIT %(limit)s::integer
"""


class Look(NamedTuple):
    """What there may be to do: by the database's time, the next retry, and whether jobs are held or workers lost."""

    now: datetime
    next_retry_at: datetime | None
    any_held: bool
    any_lost: bool


class HeldJob(NamedTuple):
    """A held job whose turn has come."""

    job_id: int
    attempt: int
    schedule_id: int
    project_id: int
    task_type: str
    scheduled_for: datetime
    start_by: datetime | None
    """Counted from its dispatch, by the version it was claimed with."""


class LostRun(NamedTuple):
    """An attempt whose worker has let its lease run out.

    The retry policy is None where its schedule is gone, the job's own fields where there is no such job. `blocked_by`
    is set where somebody wanted the job to stop.
    """

    job_id: int
    attempt: int
    schedule_id: int
    scheduled_for: datetime
    worker: str
    begun_at: datetime | None
    claimed_at: datetime
    project_id: int | None
    task_type: str | None
    max_attempts: int | None
    retry_first_seconds: float | None
    retry_cap_seconds: float | None
    job_status: str | None
    job_attempt: int | None
    blocked_by: str | None


class Stopped(NamedTuple):
    """A retry that must not start, and whose block says so."""

    job: OpenJob
    by: str


def look(session: Session) -> Look:
    """Look around, without a transaction."""
    now, next_retry_at, held, lost = session.prepared(_LOOK, {})[0]
    return Look(now, next_retry_at, bool(held), bool(lost))


def take_retries(session: Session, now: datetime, limit: int) -> tuple[list[DueRun], list[Stopped]]:
    """Move due retries back to the queue as their next attempt; returns what to publish, and what was blocked."""
    return _retry(session, now, session.prepared(_RETRIES_DUE, {"now": now, "limit": limit}))


def take_blocked_retries(session: Session, now: datetime, limit: int) -> tuple[list[DueRun], list[Stopped]]:
    """The same for retries that are blocked, due or not."""
    return _retry(session, now, session.prepared(_RETRIES_BLOCKED, {"limit": limit}))


def _retry(session: Session, now: datetime, jobs: list[tuple[Any, ...]]) -> tuple[list[DueRun], list[Stopped]]:
    if not jobs:
        return [], []
    rows = session.execute(_RETRY + _WITH_DEFINITION, {"now": now, **_keys([(job[0], job[1]) for job in jobs])})
    stopped = [
        Stopped(
            OpenJob(run.schedule_id, run.job_id, run.attempt, run.scheduled_for, False, run.project_id, run.task_type),
            by,
        )
        for run, by in ((_due_run(row, now), row[-1]) for row in rows)
        if by is not None
    ]
    return [_due_run(row, now) for row in rows if row[-1] is None], stopped


def held_jobs(session: Session, after: int, limit: int) -> tuple[list[HeldJob], int]:
    """Held jobs whose schedule has nothing else open, their timers locked; and after which schedule to go on (0: anew).

    Looks at `limit` schedules with held jobs, those after schedule `after`.
    """
    rows = session.prepared(_HELD, {"after": after, "limit": limit})
    reached = rows[-1][0] if len(rows) == limit else 0
    jobs = [HeldJob._make(row[1:]) for row in rows if row[1] is not None]
    if not jobs:
        return [], reached
    locked = {row[0] for row in session.execute(_LOCK_TIMERS, {"ids": array(sorted(j.schedule_id for j in jobs))})}
    if len(locked) < len(jobs):
        # A schedule whose timer row is busy waits for the next round.
        jobs = [job for job in jobs if job.schedule_id in locked]
    return jobs, reached


def release(session: Session, now: datetime, jobs: Sequence[HeldJob]) -> list[DueRun]:
    """Hold these back no longer; returns what to publish."""
    values = {"now": now, **_keys([(job.job_id, job.scheduled_for) for job in jobs])}
    return [_due_run(row, now) for row in session.execute(_RELEASE + _WITH_DEFINITION, values)]


def due_runs(session: Session, now: datetime, jobs: Sequence[tuple[int, datetime]]) -> list[DueRun]:
    """The due runs of jobs (id, scheduled_for) at the attempts they have reached; nothing is changed."""
    return [_due_run(row, now) for row in session.execute(_AS_THEY_ARE + _WITH_DEFINITION, _keys(jobs))]


def lost_runs(session: Session, limit: int) -> list[LostRun]:
    """Open claims whose lease has run out, locked."""
    over = session.prepared(_LEASES_OVER, {"limit": limit})
    if not over:
        return []
    return list(map(LostRun._make, session.execute(_LOST, {"jobs": array(sorted({row[0] for row in over}))})))


def end_lost(session: Session, ended: Sequence[tuple[int, int, bool]]) -> None:
    """Mark (job_id, attempt, will_retry) ended."""
    session.execute(
        _END_LOST,
        {
            "jobs": array(job for job, _, _ in ended),
            "attempts": array(attempt for _, attempt, _ in ended),
            "retries": array("t" if retry else "f" for _, _, retry in ended),
        },
    )


def never_started(session: Session, now: datetime, limit: int) -> list[OpenJob]:
    """Queued jobs that nobody claimed in time."""
    return list(map(OpenJob._make, session.prepared(_NEVER_STARTED, {"now": now, "limit": limit})))


def _keys(jobs: Sequence[tuple[int, datetime]]) -> dict[str, str]:
    instants = array(f'"{scheduled_for.isoformat()}"' for _, scheduled_for in jobs)
    return {"ids": array(job_id for job_id, _ in jobs), "instants": instants}


def _due_run(row: tuple[Any, ...], now: datetime) -> DueRun:
    (job_id, attempt, schedule_id, project_id, task_type, scheduled_for, version, trigger, most) = row[:9]
    name, parameters, tags, first, cap, timeout, deadline = row[9:16]
    return DueRun(
        job_id=job_id,
        attempt=attempt,
        schedule_id=schedule_id,
        project_id=project_id,
        task_type=task_type,
        scheduled_for=scheduled_for,
        schedule_version=version,
        schedule_name=name,
        trigger=trigger,
        task_parameters=parameters,
        tags=tags,
        policy=RunPolicy(most, first, cap, timeout, deadline),
        deadline_from=now,
    )
