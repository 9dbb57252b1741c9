"""Cancelling a job, and running its work again."""

from services.api.actions import cancelling
from services.api.actions.requests import Requested, requested
from services.api.answers import Answer
from services.api.caller import Caller
from services.api.problems import Problem, not_found
from shared.domain.job import OPEN, FailureReason, JobStatus
from shared.storage import job_queries, jobs, outbox, schedules
from shared.storage.database import Connection
from shared.telemetry.tracing import current_traceparent

_AGAIN = frozenset({JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.SKIPPED, JobStatus.SUCCEEDED})


def cancel(connection: Connection, job_id: int, caller: Caller) -> Answer:
    """202; the status follows when the cancellation is recorded."""
    seen = job_queries.get(connection, job_id)
    if seen is None or not caller.principal.sees(seen.project_id):
        raise not_found("job", job_id)
    caller.about(seen.schedule_id)
    now = schedules.lock_timer(connection, seen.schedule_id)  # lock order: the timer first
    job = job_queries.lock(connection, job_id, seen.scheduled_for)
    if job is None or now is None:
        raise not_found("job", job_id)
    if job.status not in OPEN:
        raise Problem(409, f"Job {job_id} has ended: it is {job.status}.")
    reason = FailureReason.CANCELLED_BY_USER.value
    message = cancelling.block(connection, job, caller.principal.name, reason, now)
    said = "will not start"
    if message is None:
        message, said = cancelling.ask_to_stop(connection, job, caller.actor, reason, now), "is being stopped"
    asked = Requested(job_id, job.schedule_id, job.project_id, job.task_type, job.scheduled_for)
    outbox.add(connection, [requested("cancel", asked, caller.actor, now), message])
    outbox.notify(connection, outbox.OUTBOX_CHANNEL)
    return Answer(
        202,
        {"job_id": job_id, "status": job.status, "message": f"Job {job_id} {said}"},
        log=(
            f"Cancelling job {job_id} of schedule {job.schedule_id}: it {said}",
            {"schedule_id": job.schedule_id, "job_id": job_id, "action": "job.cancel"},
        ),
    )


def retry(connection: Connection, job_id: int, caller: Caller) -> Answer:
    """202 with the id of a new manual job of the same schedule."""
    job = job_queries.get(connection, job_id)
    if job is None or not caller.principal.sees(job.project_id):
        raise not_found("job", job_id)
    caller.about(job.schedule_id)
    if job.status not in _AGAIN:
        raise Problem(409, f"Job {job_id} has not ended: it is {job.status}.")
    now = schedules.lock_timer(connection, job.schedule_id)
    stored = schedules.get(connection, job.schedule_id)
    if now is None or stored is None:
        raise Problem(409, f"The schedule of job {job_id} has been deleted.")
    made = jobs.insert_manual(connection, job.schedule_id, now, current_traceparent())
    if made is None:
        raise Problem(409, f"The schedule of job {job_id} has been deleted.")
    asked = Requested(made, job.schedule_id, job.project_id, stored.definition.task_type, now)
    outbox.add(connection, [requested("retry", asked, caller.actor, now, retry_of=job_id)])
    return Answer(
        202,
        {
            "job_id": made,
            "status": JobStatus.QUEUED.value,
            "message": f"Job {made} runs the work of job {job_id} again",
        },
        {"Location": f"/api/v1/jobs/{made}"},
        log=(
            f"Retrying job {job_id} of schedule {job.schedule_id} as job {made}",
            {"schedule_id": job.schedule_id, "job_id": made, "action": "job.retry"},
        ),
    )
