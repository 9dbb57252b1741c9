"""Ending jobs that should not run any more.

The claim decides: who inserts the claim row of an attempt first owns it. If the api is first, no worker can start the
attempt, and the api publishes its end; otherwise a worker has it and is asked to stop. health alone writes the outcome.
"""

from datetime import datetime
from typing import Any

from services.api.actions.changes import SOURCE
from shared.domain.job import JobStatus
from shared.events.envelope import Event, Message, encode, ended_id
from shared.events.topics import RUNS_CONTROL, RUNS_RESULTS
from shared.events.types import Actor, RunCancel, RunCancelled
from shared.storage import claims
from shared.storage.database import Connection
from shared.telemetry.tracing import current_traceparent


def block(connection: Connection, job: Any, by: str, reason: str, now: datetime) -> Message | None:
    """Keep a locked job's next attempt from starting: its run.cancelled; None where a worker has it.

    `job` is a row of jobs. A retrying job's next attempt is the one after its last.
    """
    attempt = job.attempt + (1 if job.status == JobStatus.RETRYING else 0)
    if not claims.block(connection, job.id, attempt, job.schedule_id, job.scheduled_for, f"cancelled:{by}"):
        return None
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
    return _message(RUNS_RESULTS.name, ended_id(job.id, attempt, "cancelled", "api"), data, job, now)


def ask_to_stop(job: Any, actor: Actor, reason: str, now: datetime) -> Message:
    """The run.cancel for whichever worker runs the job."""
    data = RunCancel(job_id=job.id, schedule_id=job.schedule_id, attempt=None, reason=reason, actor=actor)
    return _message(RUNS_CONTROL.name, f"run-cancel-{job.id}-{int(now.timestamp() * 1e6)}", data, job, now)


def _message(topic: str, event_id: str, data: RunCancelled | RunCancel, job: Any, now: datetime) -> Message:
    event = Event(
        id=event_id,
        source=SOURCE,
        time=now,
        data=data,
        schedule_id=job.schedule_id,
        job_id=job.id,
        traceparent=current_traceparent(),
    )
    return encode(topic, event)
