"""Deleting a schedule: softly, with its queued jobs cancelled and its running ones left to finish."""

from services.api.actions import cancelling
from services.api.actions.changes import change, publish
from services.api.actions.editing import locked, skip_unclaimed
from services.api.answers import Answer
from services.api.caller import Caller
from shared.domain.job import FailureReason, JobStatus, SkipReason
from shared.domain.schedule import Timer
from shared.events.types import ScheduleDeleted
from shared.storage import claims, job_queries, schedules
from shared.storage.database import Connection


def delete(connection: Connection, schedule_id: int, caller: Caller) -> Answer:
    """204. A second deletion is 404."""
    stored, now = locked(connection, schedule_id, caller)
    skip_unclaimed(connection, stored, now, SkipReason.DELETED)
    schedules.set_timer(connection, schedule_id, Timer())
    version = schedules.delete(connection, schedule_id, now)
    unfinished = job_queries.lock_open(connection, schedule_id)
    # One whose attempt has failed waits for its retry, though the ledger may not know it yet.
    failed = claims.to_be_retried(connection, [(job.id, job.attempt) for job in unfinished])
    waiting = [job for job in unfinished if job.status != JobStatus.RUNNING or (job.id, job.attempt) in failed]
    reason = FailureReason.SCHEDULE_DELETED.value
    cancelled = cancelling.block_all(connection, waiting, caller.principal.name, reason, now)
    before, created_at = stored.definition, stored.created_at
    event = change(
        ScheduleDeleted, schedule_id, version, caller.actor, before=before, after=None, created_at=created_at, now=now
    )
    publish(connection, [*event, *cancelled])
    return Answer(
        204,
        log=(
            f"Deleted schedule {schedule_id} ({stored.definition.name}), {len(cancelled)} queued jobs cancelled",
            {"schedule_id": schedule_id, "action": "schedule.deleted"},
        ),
    )
