"""Jobs: one row per occurrence or manual trigger, run or skipped.

The api inserts manual jobs and the skips of edits here; the dispatcher's tick has its own set-based statement in
`dispatch.py` and shares the rest. Callers hold the schedule's timer lock (lock order: schedule_timers, schedules, jobs,
run_claims). health alone moves a job on; see shared/domain/job.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, text

from shared.domain.job import SkipReason, Trigger
from shared.events.due import DueRun, RunPolicy, due_message
from shared.storage import outbox
from shared.storage.versions import RUN_POLICY

# The columns from which a run.due event is built: `s` the schedule, `v` the stored version of what it runs.
DUE_COLUMNS = f"""
    coalesce(v.name, s.name) AS name, coalesce(v.task_parameters, s.task_parameters)::text AS task_parameters,
    coalesce(v.tags, s.tags)::text AS tags, {RUN_POLICY}
"""

_INSERT = text(f"""
WITH made AS (
    INSERT INTO jobs (schedule_id, schedule_version, project_id, task_type, trigger, status, scheduled_for, created_at,
                      max_attempts, never_started_at)
    SELECT id, version, project_id, task_type, :trigger, 'queued', :scheduled_for, :now, max_attempts,
           CAST(:now AS timestamptz) + make_interval(secs => queue_timeout_seconds)
    FROM schedules WHERE id = :schedule_id AND deleted_at IS NULL
    ON CONFLICT DO NOTHING
    RETURNING id, schedule_id, schedule_version, project_id, task_type, trigger, scheduled_for, attempt, max_attempts
)
SELECT made.*, {DUE_COLUMNS}
FROM made
JOIN schedules s ON s.id = made.schedule_id
LEFT JOIN schedule_versions v ON v.schedule_id = made.schedule_id AND v.version = made.schedule_version
""")  # noqa: S608 (a constant)


def insert_job(
    connection: Connection,
    schedule_id: int,
    *,
    trigger: Trigger,
    scheduled_for: datetime,
    now: datetime,
    traceparent: str | None = None,
) -> int | None:
    """Store one queued job and its run.due in the outbox, and wake the relay. Returns the job's id.

    A manual job's `scheduled_for` is its request instant (`now`). None when there is no such schedule (any more), or
    when the occurrence already has its ledger entry (triggers `schedule` and `catchup`). Overlap is the caller's
    question. Call it once a transaction: it notifies.
    """
    values = {"schedule_id": schedule_id, "trigger": trigger.value, "scheduled_for": scheduled_for, "now": now}
    row = connection.execute(_INSERT, values).one_or_none()
    if row is None:
        return None
    outbox.add(connection, [due_message(due_run(row, deadline_from=now), now, traceparent)])
    outbox.notify(connection, outbox.OUTBOX_CHANNEL)
    return int(row.id)


def insert_manual(
    connection: Connection, schedule_id: int, now: datetime, traceparent: str | None = None
) -> int | None:
    """A manual job of a schedule, requested now; its id, or None when there is no such schedule (any more)."""
    return insert_job(
        connection, schedule_id, trigger=Trigger.MANUAL, scheduled_for=now, now=now, traceparent=traceparent
    )


def due_run(row: Row, deadline_from: datetime) -> DueRun:  # type: ignore[type-arg]
    """The due run of a row that holds a job's columns and DUE_COLUMNS."""
    return DueRun(
        job_id=row.id,
        attempt=row.attempt,
        schedule_id=row.schedule_id,
        project_id=row.project_id,
        task_type=row.task_type,
        scheduled_for=row.scheduled_for,
        schedule_version=row.schedule_version,
        schedule_name=row.name,
        trigger=row.trigger,
        task_parameters=row.task_parameters,
        tags=row.tags,
        policy=RunPolicy(
            row.max_attempts,
            row.retry_first_seconds,
            row.retry_cap_seconds,
            row.timeout_seconds,
            row.start_deadline_seconds,
        ),
        deadline_from=deadline_from,
    )


@dataclass(frozen=True, slots=True)
class Skip:
    """Occurrences deliberately not run: from `first` to `last`, `count` of them."""

    schedule_id: int
    schedule_version: int
    project_id: int
    task_type: str
    reason: SkipReason
    first: datetime
    last: datetime
    count: int = 1


_INSERT_SKIP = text("""
INSERT INTO jobs (schedule_id, schedule_version, project_id, task_type, trigger, status, reason, scheduled_for,
                  created_at, finished_at, skip_until, skip_count)
VALUES (:schedule_id, :schedule_version, :project_id, :task_type, 'schedule', 'skipped', :reason, :first,
        :now, :now, :last, :count)
ON CONFLICT DO NOTHING
""")


def insert_skips(connection: Connection, skips: Sequence[Skip], now: datetime) -> None:
    """Record skips; an occurrence that already has its ledger entry keeps it."""
    for skip in skips:
        connection.execute(
            _INSERT_SKIP,
            {
                "schedule_id": skip.schedule_id,
                "schedule_version": skip.schedule_version,
                "project_id": skip.project_id,
                "task_type": skip.task_type,
                "reason": skip.reason.value,
                "first": skip.first,
                "last": skip.last if skip.count > 1 else None,
                "count": skip.count if skip.count > 1 else None,
                "now": now,
            },
        )
