"""Which event moves a job, and which came late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.health.judging import Verdict, judge
from shared.domain.job import JobStatus
from shared.events.types import RunCancelled, RunEnded, RunFailed, RunStarted, RunSucceeded
from shared.storage.outcomes import JobRow

AT = datetime(2025, 10, 12, 15, 0, tzinfo=UTC)
BASE: dict[str, Any] = {"job_id": 7, "schedule_id": 5, "project_id": 1, "task_type": "analysis", "scheduled_for": AT}


def job(status: JobStatus, attempt: int = 1, max_attempts: int = 3) -> JobRow:
    return JobRow(7, AT, 5, 1, "analysis", status, attempt, max_attempts)


def succeeded(attempt: int = 1) -> RunSucceeded:
    return RunSucceeded(**BASE, attempt=attempt, finished_at=AT + timedelta(seconds=9), started_at=AT)


def failed(attempt: int = 1, *, will_retry: bool = False, next_attempt_at: datetime | None = None) -> RunFailed:
    return RunFailed(
        **BASE,
        attempt=attempt,
        finished_at=AT,
        error="it broke",
        reason="error",
        will_retry=will_retry,
        next_attempt_at=next_attempt_at,
    )


def cancelled(attempt: int = 1, worker: str | None = None) -> RunCancelled:
    return RunCancelled(**BASE, attempt=attempt, finished_at=AT, reason="cancelled_by_user", worker=worker)


@pytest.mark.parametrize(
    ("status", "attempt", "event", "verdict", "becomes"),
    [
        (JobStatus.QUEUED, 1, succeeded(), Verdict.APPLIED, JobStatus.SUCCEEDED),  # the end overtook run.started
        (JobStatus.RUNNING, 1, succeeded(), Verdict.APPLIED, JobStatus.SUCCEEDED),
        (JobStatus.RUNNING, 1, failed(), Verdict.APPLIED, JobStatus.FAILED),
        (JobStatus.RUNNING, 1, failed(will_retry=True), Verdict.APPLIED, JobStatus.RETRYING),
        (JobStatus.RUNNING, 3, failed(3, will_retry=True), Verdict.APPLIED, JobStatus.FAILED),  # no attempt is left
        (JobStatus.RUNNING, 1, cancelled(), Verdict.APPLIED, JobStatus.CANCELLED),
        (JobStatus.SUCCEEDED, 1, failed(), Verdict.LATE, None),
        (JobStatus.FAILED, 1, succeeded(), Verdict.LATE, None),
        (JobStatus.SKIPPED, 1, succeeded(), Verdict.LATE, None),
        (JobStatus.QUEUED, 2, succeeded(1), Verdict.LATE, None),  # the lost worker of attempt 1 comes back
        (JobStatus.RUNNING, 1, succeeded(2), Verdict.LATE, None),
        (JobStatus.RETRYING, 1, succeeded(1), Verdict.LATE, None),
        (JobStatus.RETRYING, 1, failed(1), Verdict.LATE, None),
        (JobStatus.RETRYING, 1, cancelled(1), Verdict.APPLIED, JobStatus.CANCELLED),
        (JobStatus.RETRYING, 1, cancelled(2), Verdict.APPLIED, JobStatus.CANCELLED),
        (JobStatus.RETRYING, 1, cancelled(1, "w"), Verdict.LATE, None),  # a frozen worker wakes: its run was lost
        (JobStatus.RUNNING, 1, cancelled(1, "w"), Verdict.APPLIED, JobStatus.CANCELLED),
        (JobStatus.RUNNING, 1, cancelled(2), Verdict.APPLIED, JobStatus.CANCELLED),  # it overtook the failure of 1
        (JobStatus.RUNNING, 1, cancelled(2, "w"), Verdict.LATE, None),
        (JobStatus.RETRYING, 1, failed(2), Verdict.APPLIED, JobStatus.FAILED),
    ],
)
def test_an_end_counts_for_the_open_attempt_only(
    status: JobStatus, attempt: int, event: RunEnded, verdict: Verdict, becomes: JobStatus | None
) -> None:
    judgement = judge(job(status, attempt), event)
    assert judgement.verdict is verdict
    assert (judgement.outcome.status if judgement.outcome else None) is becomes


@pytest.mark.parametrize(
    ("status", "attempt", "verdict"),
    [
        (JobStatus.QUEUED, 1, Verdict.APPLIED),
        (JobStatus.QUEUED, 2, Verdict.IGNORED),
        (JobStatus.RUNNING, 1, Verdict.IGNORED),
        (JobStatus.SUCCEEDED, 1, Verdict.IGNORED),
    ],
)
def test_a_start_never_reopens_a_job(status: JobStatus, attempt: int, verdict: Verdict) -> None:
    assert judge(job(status, attempt), RunStarted(**BASE, attempt=1, worker="w", started_at=AT)).verdict is verdict


def test_a_retry_without_an_instant_is_due_at_once() -> None:
    judgement = judge(job(JobStatus.RUNNING), failed(will_retry=True))
    assert judgement.outcome is not None
    assert judgement.outcome.next_attempt_at == AT


def test_an_unknown_job_is_said_to_be_unknown() -> None:
    assert judge(None, succeeded()).verdict is Verdict.UNKNOWN
