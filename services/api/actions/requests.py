"""What somebody asked for by hand, for the audit log: stored in the outbox by the transaction that does it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from services.api.actions.changes import of_run
from shared.events.envelope import Message
from shared.events.topics import RUNS_REQUESTS
from shared.events.types import Actor, RunRequested


@dataclass(frozen=True, slots=True)
class Requested:
    """The job that a request made or is about."""

    job_id: int
    schedule_id: int
    project_id: int
    task_type: str
    scheduled_for: datetime


def requested(
    request: Literal["execute", "retry", "cancel"],
    job: Requested,
    actor: Actor,
    now: datetime,
    *,
    forced: bool = False,
    retry_of: int | None = None,
) -> Message:
    """The run.requested of a manual action."""
    data = RunRequested(
        request=request,
        job_id=job.job_id,
        schedule_id=job.schedule_id,
        project_id=job.project_id,
        task_type=job.task_type,
        scheduled_for=job.scheduled_for,
        actor=actor,
        forced=forced,
        retry_of=retry_of,
    )
    event_id = f"run-requested-{job.job_id}-{request}-{int(now.timestamp() * 1e6)}"
    return of_run(RUNS_REQUESTS.name, event_id, data, job.job_id, job.schedule_id, now)
