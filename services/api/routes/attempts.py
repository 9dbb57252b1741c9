"""`/api/v1/jobs/{id}/attempts/{n}`: for workers elsewhere that want an attempt to start at most once.

A worker of ours claims in the database; one that consumes runs.due.<type> from elsewhere claims here, renews its lease
by heartbeats, and answers on runs.results. A lease that ends makes the dispatcher's rescue give the attempt up.
"""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from services.api.answers import Answer
from services.api.caller import Caller, Operator
from services.api.models.objects import AttemptClaim, AttemptClaimed
from services.api.problems import Problem, not_found
from services.api.routes.documented import WRITES, errors
from services.api.routes.parameters import IdempotencyKey, ObjectId
from services.api.routing import JsonRoute
from shared.domain.job import JobStatus
from shared.storage import claims, job_queries
from shared.storage.database import Connection
from shared.storage.job_queries import JobRow

router = APIRouter(prefix="/api/v1/jobs", tags=["attempts"], route_class=JsonRoute)
AttemptNumber = Annotated[int, Path(ge=1, le=32_767, examples=[1])]


@router.post(
    "/{job_id}/attempts/{attempt:int}/claim",
    response_model=AttemptClaimed,
    responses=errors(404, *WRITES),
    operation_id="claimAttempt",
    summary="Claim an attempt",
)
def claim_attempt(
    job_id: ObjectId,
    attempt: AttemptNumber,
    body: AttemptClaim,
    caller: Operator,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """200: it is yours to start. 409: somebody has it, it has ended, or it is not the job's turn."""

    def work(connection: Connection) -> Answer:
        job = _job(connection, job_id, caller)
        if job.attempt != attempt or job.status not in (JobStatus.QUEUED, JobStatus.RUNNING):
            raise Problem(409, f"Job {job_id} is {job.status}, at attempt {job.attempt}.")
        if job.held:
            raise Problem(409, f"Job {job_id} waits for its schedule's other runs: its run.due is not published yet.")
        wanted = claims.Wanted(job_id, attempt, job.schedule_id, job.scheduled_for)
        worker = _worker(caller, body.worker)
        if (job_id, attempt) not in claims.claim(connection, worker, body.lease_seconds, [wanted]):
            raise Problem(409, f"Attempt {attempt} of job {job_id} has been claimed already.")
        return _claimed(connection, job_id, attempt, body.worker)

    return caller.write(work)


@router.post(
    "/{job_id}/attempts/{attempt:int}/heartbeat",
    response_model=AttemptClaimed,
    responses=errors(404, *WRITES),
    operation_id="renewAttempt",
    summary="Renew the lease of an attempt",
)
def renew_attempt(
    job_id: ObjectId,
    attempt: AttemptNumber,
    body: AttemptClaim,
    caller: Operator,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """409 when the attempt is not this worker's any more: stop working on it."""

    def work(connection: Connection) -> Answer:
        _job(connection, job_id, caller)
        if not claims.extend_one(connection, job_id, attempt, _worker(caller, body.worker), body.lease_seconds):
            raise Problem(409, f"Attempt {attempt} of job {job_id} is not this worker's.")
        return _claimed(connection, job_id, attempt, body.worker)

    return caller.write(work)


def _job(connection: Connection, job_id: int, caller: Caller) -> JobRow:
    job = job_queries.get(connection, job_id)
    if job is None or not caller.principal.sees(job.project_id):
        raise not_found("job", job_id)
    return job


def _worker(caller: Caller, name: str) -> str:
    """A name that no worker of ours and no other caller can have."""
    return f"external:{caller.principal.identity or caller.principal.name}:{name}#external"


def _claimed(connection: Connection, job_id: int, attempt: int, worker: str) -> Answer:
    until = claims.lease_until(connection, job_id, attempt)
    return Answer(200, {"job_id": job_id, "attempt": attempt, "worker": worker, "lease_until": until})
