"""Ending jobs that should not run any more.

The claim decides: who inserts the claim row of an attempt first owns it. If the api is first, no worker can start the
attempt, and the api publishes its end; otherwise a worker has it and is asked to stop. Its next attempt is blocked
then: should this one fail before it hears of the request, or lose its worker, nothing follows (the dispatcher's rescue
ends the job). health alone writes the outcome.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.api.actions.changes import of_run
from shared.domain.job import JobStatus
from shared.events.envelope import Message, ended_id
from shared.events.topics import RUNS_CONTROL, RUNS_RESULTS
from shared.events.types import Actor, RunCancel, RunCancelled
from shared.storage import claims
from shared.storage.database import Connection


def block(connection: Connection, job: Any, by: str, reason: str, now: datetime) -> Message | None:
    """Keep a locked job's next attempt from starting: its run.cancelled; None where a worker has it."""
    return next(iter(block_all(connection, [job], by, reason, now)), None)


def block_all(connection: Connection, jobs: Sequence[Any], by: str, reason: str, now: datetime) -> list[Message]:
    """The same for many locked jobs at once: the run.cancelled of each that no worker has.

    `jobs` are rows of jobs. A retrying job's next attempt is the one after its last, also where only its claim says so.
    """
    failed = claims.to_be_retried(connection, [(job.id, job.attempt) for job in jobs])
    between = {job.id for job in jobs if job.status == JobStatus.RETRYING or (job.id, job.attempt) in failed}
    attempts = {job.id: job.attempt + (1 if job.id in between else 0) for job in jobs}
    wanted = [claims.Wanted(job.id, attempts[job.id], job.schedule_id, job.scheduled_for) for job in jobs]
    blocked = {job_id for job_id, _ in claims.block_all(connection, wanted, f"cancelled:{by}")}
    return [_cancelled(job, attempts[job.id], reason, now) for job in jobs if job.id in blocked]


def _cancelled(job: Any, attempt: int, reason: str, now: datetime) -> Message:
    data = RunCancelled(
        job_id=job.id,
        attempt=attempt,
        schedule_id=job.schedule_id,
        project_id=job.project_id,
        task_type=job.task_type,
        scheduled_for=job.scheduled_for,
        finished_at=now,
        reason=reason,
    )
    event_id = ended_id(job.id, attempt, "cancelled", "api")
    return of_run(RUNS_RESULTS.name, event_id, data, job.id, job.schedule_id, now)


def ask_to_stop(connection: Connection, job: Any, actor: Actor, reason: str, now: datetime) -> Message:
    """The run.cancel for whichever worker runs the job; no further attempt of it can start."""
    claims.block(connection, job.id, job.attempt + 1, job.schedule_id, job.scheduled_for, claims.STOP + actor.name)
    data = RunCancel(job_id=job.id, schedule_id=job.schedule_id, attempt=None, reason=reason, actor=actor)
    event_id = f"run-cancel-{job.id}-{int(now.timestamp() * 1e6)}"
    return of_run(RUNS_CONTROL.name, event_id, data, job.id, job.schedule_id, now)
