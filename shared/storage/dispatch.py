"""The tick's statements: claim due timers, read what they stand for, store jobs, skips and timers.

All are set-based and run in one transaction on the tick's own Session. Arrays travel as one text literal each. The
claim must walk an index in due order: with stale statistics PostgreSQL would rather sort the whole backlog (measured:
8,000 instead of 28,000 dispatches a second), so the sessions forbid those plans; a test looks at the plan.
Statements that are planned once ask for an order that only the right index gives: a plan made while a table or today's
partition was still empty would otherwise take any index, and keep it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from shared.storage.leases import FENCE
from shared.storage.session import Session, array

PINNED = {
    "enable_bitmapscan": "off",
    "enable_seqscan": "off",
    "enable_sort": "off",
    "plan_cache_mode": "force_generic_plan",
}
"""Settings of every session that runs these statements."""

CLAIM = """
SELECT nextval('job_ids'), schedule_id, project_id, next_run_at, next_scheduled_for, last_claimed_for
FROM (
    SELECT schedule_id, project_id, next_run_at, next_scheduled_for, last_claimed_for
    FROM schedule_timers
    WHERE next_run_at >= %(floor)s AND next_run_at <= %(now)s
    ORDER BY next_run_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
) AS due
"""
# Compared as pairs, so that only the index by project gives this order: by `project_id = …` stale statistics would walk
# the other one past everybody else's backlog.
CLAIM_BY_TURNS = """
SELECT nextval('job_ids'), due.schedule_id, due.project_id, due.next_run_at, due.next_scheduled_for,
    due.last_claimed_for
FROM unnest(%(projects)s::bigint[], %(shares)s::integer[]) AS turn (project_id, share)
CROSS JOIN LATERAL (
    SELECT schedule_id, project_id, next_run_at, next_scheduled_for, last_claimed_for
    FROM schedule_timers AS t
    WHERE (t.project_id, t.next_run_at) >= (turn.project_id, %(floor)s::timestamptz)
        AND (t.project_id, t.next_run_at) <= (turn.project_id, %(now)s) AND t.next_run_at <= %(now)s
    ORDER BY t.project_id, t.next_run_at
    LIMIT turn.share
    FOR UPDATE SKIP LOCKED
) AS due
"""
_PROJECTS_DUE = """
WITH RECURSIVE walk AS (
    (SELECT project_id, next_run_at FROM schedule_timers
     WHERE next_run_at IS NOT NULL ORDER BY project_id, next_run_at LIMIT 1)
    UNION ALL
    SELECT later.project_id, later.next_run_at
    FROM walk
    CROSS JOIN LATERAL (
        SELECT project_id, next_run_at FROM schedule_timers
        WHERE project_id > walk.project_id AND next_run_at IS NOT NULL ORDER BY project_id, next_run_at LIMIT 1
    ) AS later
)
SELECT walk.project_id, coalesce(projects.weight, 1)
FROM walk LEFT JOIN projects ON projects.id = walk.project_id
WHERE walk.next_run_at <= %(now)s
"""
_NEWLY_DUE = """
SELECT fresh.project_id, coalesce(projects.weight, 1), fresh.timers
FROM (
    SELECT project_id, count(*) AS timers
    FROM (SELECT project_id FROM schedule_timers
          WHERE next_run_at > %(since)s AND next_run_at <= %(now)s ORDER BY next_run_at LIMIT %(most)s) AS timers
    GROUP BY project_id
) AS fresh
LEFT JOIN projects ON projects.id = fresh.project_id
"""
_DEFINITIONS = """
SELECT id, version, name, task_type, task_parameters::text, tags::text, enabled AND deleted_at IS NULL,
    frequency, cron_expression, interval_seconds, timezone, start_time, end_time,
    CASE WHEN frequency = 'interval' THEN created_at END, dst_gap, dst_overlap, jitter_seconds,
    overlap_policy, catchup_policy, catchup_window_seconds, start_deadline_seconds, queue_timeout_seconds,
    max_attempts, retry_first_seconds, retry_cap_seconds, timeout_seconds
FROM schedules WHERE id = ANY(%(ids)s::bigint[])
ORDER BY id
"""
_STORE_JOBS = """
WITH moved AS (
    UPDATE schedule_timers AS t
    SET next_run_at = d.next_run_at, next_scheduled_for = d.next_scheduled_for, last_claimed_for = d.last_claimed_for
    FROM unnest(%(timers)s::bigint[], %(next_run_at)s::timestamptz[], %(next_scheduled_for)s::timestamptz[],
        %(last_claimed_for)s::timestamptz[]) AS d (schedule_id, next_run_at, next_scheduled_for, last_claimed_for)
    WHERE t.schedule_id = d.schedule_id
)
INSERT INTO jobs (id, schedule_id, schedule_version, project_id, task_type, trigger, status, scheduled_for, created_at,
    held, max_attempts, never_started_at)
SELECT id, schedule_id, version, project_id, task_type, trigger, 'queued', scheduled_for, %(now)s::timestamptz,
    held, max_attempts,
    CASE WHEN NOT held THEN %(now)s::timestamptz + queue_timeout * interval '1 second' END
FROM unnest(%(ids)s::bigint[], %(schedules)s::bigint[], %(versions)s::integer[], %(projects)s::bigint[],
    %(task_types)s::text[], %(triggers)s::text[], %(scheduled_for)s::timestamptz[], %(held)s::boolean[],
    %(max_attempts)s::integer[], %(queue_timeouts)s::integer[])
    AS d (id, schedule_id, version, project_id, task_type, trigger, scheduled_for, held, max_attempts, queue_timeout)
ON CONFLICT DO NOTHING
RETURNING id
"""
_STORE_SKIPS = """
INSERT INTO jobs (id, schedule_id, schedule_version, project_id, task_type, trigger, status, reason, scheduled_for,
    created_at, finished_at, skip_until, skip_count)
SELECT coalesce(id, nextval('job_ids')), schedule_id, version, project_id, task_type, trigger, 'skipped', reason, first,
    %(now)s::timestamptz, %(now)s::timestamptz, last, count
FROM unnest(%(ids)s::bigint[], %(schedules)s::bigint[], %(versions)s::integer[], %(projects)s::bigint[],
    %(task_types)s::text[], %(triggers)s::text[], %(reasons)s::text[], %(firsts)s::timestamptz[],
    %(lasts)s::timestamptz[], %(counts)s::integer[])
    AS d (id, schedule_id, version, project_id, task_type, trigger, reason, first, last, count)
ON CONFLICT DO NOTHING
"""
_STORE_OUTBOX = "INSERT INTO outbox (message_count, messages) VALUES (%(count)s, %(messages)s) RETURNING id"
_NEXT_DUE = """
SELECT next_run_at, clock_timestamp() FROM (SELECT 1) AS one
LEFT JOIN LATERAL (SELECT next_run_at FROM schedule_timers WHERE next_run_at >= %(floor)s::timestamptz
    ORDER BY next_run_at LIMIT 1) AS first ON true
"""
_FIRST = "-infinity"
"""The floor of a look at all timers."""
# now(): clock_timestamp() is asked at each row, and so no bound of an index scan: it read the timers of all schedules.
_COUNT_DUE = """
SELECT count(*)
FROM (SELECT 1 FROM schedule_timers WHERE next_run_at >= %(floor)s::timestamptz AND next_run_at <= now()
    ORDER BY next_run_at LIMIT %(most)s::bigint) AS due
"""


class DueTimer(NamedTuple):
    """A claimed timer, locked, with a job id kept ready for its occurrence."""

    job_id: int
    schedule_id: int
    project_id: int
    next_run_at: datetime
    next_scheduled_for: datetime | None
    last_claimed_for: datetime | None


class Definition(NamedTuple):
    """What a schedule is now. Fields 7 to 16 are the recurrence, 22 to 25 with 20 the run policy."""

    id: int
    version: int
    name: str
    task_type: str
    task_parameters: str
    tags: str
    active: bool
    frequency: str
    cron_expression: str | None
    interval_seconds: int | None
    timezone: str
    start_time: datetime | None
    end_time: datetime | None
    anchor: datetime | None
    dst_gap: str
    dst_overlap: str
    jitter_seconds: int
    overlap_policy: str
    catchup_policy: str
    catchup_window_seconds: int
    start_deadline_seconds: int | None
    queue_timeout_seconds: int
    max_attempts: int
    retry_first_seconds: float
    retry_cap_seconds: float
    timeout_seconds: int


class TimerMove(NamedTuple):
    """Where a claimed timer goes."""

    schedule_id: int
    next_run_at: datetime | None
    next_scheduled_for: datetime | None
    last_claimed_for: datetime | None


class NewJob(NamedTuple):
    """A job to store."""

    job_id: int
    schedule_id: int
    version: int
    project_id: int
    task_type: str
    trigger: str
    scheduled_for: datetime
    held: bool
    max_attempts: int
    queue_timeout_seconds: int


class NewSkip(NamedTuple):
    """A skip to store; `last` and `number` are None for a single occurrence, `job_id` None draws a fresh one."""

    job_id: int | None
    schedule_id: int
    version: int
    project_id: int
    task_type: str
    trigger: str
    reason: str
    first: datetime
    last: datetime | None
    number: int | None


def begin(session: Session, lease: str, holder: str, epoch: int) -> datetime | None:
    """Open a claiming transaction behind the fence: the database's time, or None to a deposed leader (rolled back)."""
    rows = session.prepared(FENCE, {"lease": lease, "holder": holder, "epoch": epoch}, first="BEGIN")
    if rows:
        now: datetime = rows[0][0]
        return now
    session.execute("ROLLBACK")
    return None


def claim(session: Session, floor: datetime | None, now: datetime, limit: int) -> list[DueTimer]:
    """Lock up to `limit` due timers in due order, whoever's they are. Timers that someone is editing are passed by.

    `floor`, here and below: nothing waits for an earlier instant, so the look begins there; None: at the very first.
    """
    rows = session.prepared(CLAIM, {"floor": floor or _FIRST, "now": now, "limit": limit})
    return list(map(DueTimer._make, rows))


def claim_by_turns(
    session: Session, floor: datetime | None, now: datetime, turns: Sequence[tuple[int, int]]
) -> list[DueTimer]:
    """The same by projects: (project_id, at most so many) each, in due order within a project."""
    projects, shares = array(project for project, _ in turns), array(share for _, share in turns)
    values = {"floor": floor or _FIRST, "now": now, "projects": projects, "shares": shares}
    return list(map(DueTimer._make, session.prepared(CLAIM_BY_TURNS, values)))


def projects_due(session: Session, now: datetime) -> list[tuple[int, int]]:
    """(project_id, weight) of every project with something due. Costs one index step a project that has timers."""
    return [(row[0], row[1]) for row in session.prepared(_PROJECTS_DUE, {"now": now})]


def projects_newly_due(session: Session, since: datetime, now: datetime, most: int) -> list[tuple[int, int]] | None:
    """(project_id, weight) of those of which a timer is due since then; None where that is `most` timers or more."""
    rows = session.prepared(_NEWLY_DUE, {"since": since, "now": now, "most": most})
    return None if sum(row[2] for row in rows) >= most else [(row[0], row[1]) for row in rows]


def definitions(session: Session, schedule_ids: Sequence[int]) -> list[Definition]:
    """The definitions of claimed schedules. Read after the timers are locked, so that an edit is not half seen."""
    return list(map(Definition._make, session.prepared(_DEFINITIONS, {"ids": array(schedule_ids)})))


def draw_job_ids(session: Session, count: int) -> list[int]:
    """Further job ids, for timers of which several occurrences run."""
    rows = session.execute("SELECT nextval('job_ids') FROM generate_series(1, %(count)s)", {"count": count})
    return [row[0] for row in rows]


def store(session: Session, now: datetime, timers: Sequence[TimerMove], jobs: Sequence[NewJob]) -> set[int]:
    """Advance timers and insert jobs in one statement; returns the ids that are new.

    An occurrence that already has its ledger entry keeps it, and its job here is not among the returned.
    """
    rows = session.execute(
        _STORE_JOBS,
        {
            "now": now,
            "timers": array(t.schedule_id for t in timers),
            "next_run_at": _instants([t.next_run_at for t in timers]),
            "next_scheduled_for": _instants([t.next_scheduled_for for t in timers]),
            "last_claimed_for": _instants([t.last_claimed_for for t in timers]),
            "ids": array(j.job_id for j in jobs),
            "schedules": array(j.schedule_id for j in jobs),
            "versions": array(j.version for j in jobs),
            "projects": array(j.project_id for j in jobs),
            "task_types": _words(j.task_type for j in jobs),
            "triggers": _words(j.trigger for j in jobs),
            "scheduled_for": _instants([j.scheduled_for for j in jobs]),
            "held": array("t" if j.held else "f" for j in jobs),
            "max_attempts": array(j.max_attempts for j in jobs),
            "queue_timeouts": array(j.queue_timeout_seconds for j in jobs),
        },
    )
    return {row[0] for row in rows}


def store_skips(session: Session, now: datetime, skips: Sequence[NewSkip]) -> None:
    """Record skips; an occurrence that already has its ledger entry keeps it."""
    session.prepared(
        _STORE_SKIPS,
        {
            "now": now,
            "ids": array("NULL" if s.job_id is None else s.job_id for s in skips),
            "schedules": array(s.schedule_id for s in skips),
            "versions": array(s.version for s in skips),
            "projects": array(s.project_id for s in skips),
            "task_types": _words(s.task_type for s in skips),
            "triggers": _words(s.trigger for s in skips),
            "reasons": _words(s.reason for s in skips),
            "firsts": _instants([s.first for s in skips]),
            "lasts": _instants([s.last for s in skips]),
            "counts": array("NULL" if s.number is None else s.number for s in skips),
        },
    )


def store_messages(session: Session, count: int, messages: str) -> int:
    """One outbox row: the JSON array of a batch's messages; returns its id."""
    return int(session.prepared(_STORE_OUTBOX, {"count": count, "messages": messages})[0][0])


def next_due(session: Session, floor: datetime | None) -> tuple[datetime | None, datetime]:
    """The earliest stored instant of dispatch, and the database's time."""
    row = session.prepared(_NEXT_DUE, {"floor": floor or _FIRST})[0]
    return row[0], row[1]


def count_due(session: Session, floor: datetime | None, most: int = 100_000) -> int:
    """How many timers are due, counted up to `most`."""
    return int(session.prepared(_COUNT_DUE, {"floor": floor or _FIRST, "most": most})[0][0])


def _instants(values: Sequence[datetime | None]) -> str:
    """The text of a timestamptz array. Many are equal, so each distinct one is written once."""
    texts = {value: "NULL" if value is None else f'"{value.isoformat()}"' for value in set(values)}
    return "{" + ",".join([texts[value] for value in values]) + "}"


def _words(values: Iterable[str]) -> str:
    """The text of an array of words; anything but a plain word is quoted."""
    return "{" + ",".join([value if value.isidentifier() else _quoted(value) for value in values]) + "}"


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
