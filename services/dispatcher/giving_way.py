"""Makes open jobs give way: those nobody has started are cancelled, those that run are asked to stop.

Of a job that runs the next attempt is blocked as well: whatever becomes of this one, nothing follows. Called by the
tick (cancel_other) and by the rescue (a held job whose start deadline has passed), inside their transaction; they
publish the messages returned.
"""

from collections.abc import Sequence
from datetime import datetime

from services.dispatcher.planning import Cancel
from shared.domain.job import FailureReason
from shared.events.due import SOURCE
from shared.events.envelope import Event, Message, encode, ended_id
from shared.events.topics import RUNS_CONTROL, RUNS_RESULTS
from shared.events.types import RunCancel, RunCancelled
from shared.storage.claims import STOP
from shared.storage.giving_way import block
from shared.storage.open_jobs import OpenJob
from shared.storage.session import Session

BY = "cancelled:dispatcher"
STOPPED_BY = f"{STOP}dispatcher"


def give_way(session: Session, cancels: Sequence[Cancel], now: datetime) -> list[Message]:
    """Block or stop each job; returns the events to publish."""
    if not cancels:
        return []
    attempts = [(c.job.job_id, c.job.attempt, c.job.schedule_id, c.job.scheduled_for) for c in cancels]
    blocked = block(session, attempts, BY)
    running = [(job, attempt + 1, schedule, at) for job, attempt, schedule, at in attempts if job not in blocked]
    if running:
        block(session, running, STOPPED_BY)
    return [
        cancelled(cancel.job, cancel.reason, now) if cancel.job.job_id in blocked else _stop(cancel, now)
        for cancel in cancels
    ]


def given_up(job: OpenJob, by: str, now: datetime) -> Message:
    """The end of a job that was to stop and whose attempt ended otherwise; `by` is the block of its next attempt."""
    return cancelled(job, FailureReason.REPLACED if by == STOPPED_BY else FailureReason.CANCELLED_BY_USER, now)


def cancelled(job: OpenJob, reason: FailureReason | str, now: datetime) -> Message:
    """The end of an attempt that no worker will start."""
    data = RunCancelled(
        job_id=job.job_id,
        attempt=job.attempt,
        schedule_id=job.schedule_id,
        project_id=job.project_id,
        task_type=job.task_type,
        scheduled_for=job.scheduled_for,
        finished_at=now,
        reason=str(reason),
    )
    event_id = ended_id(job.job_id, job.attempt, "cancelled", "dispatcher")
    return encode(RUNS_RESULTS.name, Event(event_id, SOURCE, now, data, job.schedule_id, job.job_id))


def _stop(cancel: Cancel, now: datetime) -> Message:
    job = cancel.job
    data = RunCancel(job_id=job.job_id, schedule_id=job.schedule_id, attempt=job.attempt, reason=str(cancel.reason))
    event_id = f"run-cancel-{job.job_id}-{job.attempt}-dispatcher"
    return encode(RUNS_CONTROL.name, Event(event_id, SOURCE, now, data, job.schedule_id, job.job_id))
