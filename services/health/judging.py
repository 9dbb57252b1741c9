"""What a run event does to a job: pure rules over shared/domain/job.py's table. Called by recorder.py for every event.

The rule (DESIGN 3.5): the first terminal event of an attempt wins. A job's row tells which attempt is open, so judging
needs nothing else: an end for an attempt that is not open came late.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from shared.domain.job import JobStatus, sources
from shared.events.types import RunCancelled, RunEnded, RunFailed, RunStarted, RunSucceeded
from shared.storage.outcomes import JobRow, Outcome

_SOURCES = {status: sources(status) for status in JobStatus}


class Verdict(StrEnum):
    """What became of an event."""

    APPLIED = "applied"
    IGNORED = "ignored"
    LATE = "late"
    REPEATED = "repeated"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Judgement:
    """The verdict, and the job's new state where it was applied. Not frozen: one for each event."""

    verdict: Verdict
    outcome: Outcome | None = None


def judge(job: JobRow | None, data: RunStarted | RunEnded) -> Judgement:
    """Judge one event against its job; None: no such job is stored."""
    if job is None:
        return Judgement(Verdict.UNKNOWN)
    if isinstance(data, RunStarted):
        if data.attempt == job.attempt and job.status in _SOURCES[JobStatus.RUNNING]:
            return Judgement(
                Verdict.APPLIED, _outcome(job, data.attempt, JobStatus.RUNNING, started_at=data.started_at)
            )
        return Judgement(Verdict.IGNORED)
    target = target_of(job, data)
    if not _is_open(job, data, target):
        return Judgement(Verdict.LATE)
    return Judgement(Verdict.APPLIED, _ended(job, data, target))


def target_of(job: JobRow, data: RunEnded) -> JobStatus:
    """Where this end leads. A retry that the job's own limit forbids is not granted, whoever promises it."""
    match data:
        case RunSucceeded():
            return JobStatus.SUCCEEDED
        case RunCancelled():
            return JobStatus.CANCELLED
        case RunFailed(will_retry=True) if data.attempt < job.max_attempts:
            return JobStatus.RETRYING
        case RunFailed():
            return JobStatus.FAILED
    raise ValueError(f"{type(data).__name__} is no end of a run")


def _is_open(job: JobRow, data: RunEnded, target: JobStatus) -> bool:
    if job.status not in _SOURCES[target]:
        return False
    if job.status is JobStatus.RETRYING:
        # The stored attempt has ended and the next is not yet queued: that one can be given up before it begins. The
        # stored one cannot end again: a frozen worker that wakes up and stops what it has lost says `cancelled` too,
        # and must not take the retry along. Only who asked without a worker may still mean it, by the stored number.
        no_worker = target is JobStatus.CANCELLED and data.worker is None
        return data.attempt == job.attempt + 1 or (no_worker and data.attempt == job.attempt)
    # Who cancels a job whose attempt has failed names the next one, and that may overtake the failure on its way here.
    next_one = target is JobStatus.CANCELLED and data.worker is None and data.attempt == job.attempt + 1
    return next_one or data.attempt == job.attempt


def _ended(job: JobRow, data: RunEnded, target: JobStatus) -> Outcome:
    finished_at = aware(data.finished_at)
    reason, error, result, artifacts, next_attempt_at = None, None, None, None, None
    if isinstance(data, RunFailed):
        reason, error = data.reason, data.error
        result, artifacts = data.result, data.artifacts
        if target is JobStatus.RETRYING:
            # A producer that names no instant wants it now; null would never come due.
            next_attempt_at = aware(data.next_attempt_at) if data.next_attempt_at else finished_at
    elif isinstance(data, RunCancelled):
        reason = data.reason
    elif isinstance(data, RunSucceeded):
        result, artifacts = data.result, data.artifacts
    return _outcome(
        job,
        data.attempt,
        target,
        reason=reason,
        error=error,
        started_at=aware(data.started_at) if data.started_at else None,
        finished_at=finished_at,
        next_attempt_at=next_attempt_at,
        result=result,
        artifacts=[artifact.model_dump() for artifact in artifacts] if artifacts else None,
    )


def _outcome(job: JobRow, attempt: int, status: JobStatus, **values: object) -> Outcome:
    return Outcome(job.id, job.scheduled_for, status, attempt, **values)  # type: ignore[arg-type] # names as in Outcome


def aware(instant: datetime) -> datetime:
    """Our instants are UTC; one that names no zone is read as UTC. Another zone's is the same instant: it may stay."""
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
