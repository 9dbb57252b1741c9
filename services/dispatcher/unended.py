"""Ends attempts that are over and whose end will never come: its event was lost, or an unclaimed run outlived its time.

Harmless where the end does come: it lies before this one in the same partition, and the first end wins. Called by the
rescue, inside its fenced transaction.
"""

from datetime import datetime
from typing import Any

from services.dispatcher.letters import letters
from shared.domain.job import FailureReason
from shared.domain.retry import RetryPolicy, delay_before_next
from shared.events.due import SOURCE
from shared.events.envelope import Event, Message, encode, ended_id
from shared.events.topics import RUNS_RESULTS
from shared.events.types import RunCancelled, RunFailed
from shared.storage import unended
from shared.storage.session import Session
from shared.storage.unended import Place, Unended
from shared.telemetry.logging import get_logger
from shared.telemetry.metrics import RESCUED

log = get_logger(__name__)

BY = "cancelled:unended"


def end_unended(session: Session, now: datetime, after: Place, limit: int) -> tuple[list[Message], Place, bool]:
    """What to publish, where to go on, and whether there may be more to end at once."""
    found, reached = unended.find(session, now, after, limit)
    if not found:
        return [], reached, False
    ends = [(one, _end(one, now)) for one in found]
    over = unended.close(session, [(one, isinstance(end, RunFailed) and end.will_retry) for one, end in ends], BY)
    messages, failures = [], []
    for one, end in ends:
        if one.job_id not in over:
            continue  # somebody has claimed it meanwhile
        kind = "cancelled"
        if isinstance(end, RunFailed):
            kind = "failed"
            failures.append(end)
        event_id = ended_id(one.job_id, one.attempt, kind, "dispatcher-unended")
        messages.append(encode(RUNS_RESULTS.name, Event(event_id, SOURCE, now, end, one.schedule_id, one.job_id)))
        RESCUED.labels(end.reason).inc()
        log.warning(
            "Attempt %s of job %s is over and its end never came: %s",
            one.attempt,
            one.job_id,
            end.reason,
            action="rescue.unended",
            schedule_id=one.schedule_id,
            job_id=one.job_id,
        )
    return messages + letters(session, failures, now), reached, len(found) == limit


def _end(one: Unended, now: datetime) -> RunFailed | RunCancelled:
    identity: dict[str, Any] = {
        "job_id": one.job_id,
        "attempt": one.attempt,
        "schedule_id": one.schedule_id,
        "project_id": one.project_id,
        "task_type": one.task_type,
        "scheduled_for": one.scheduled_for,
        "finished_at": now,
    }
    if one.claimed and not one.begun:  # a block: nobody could ever start it
        return RunCancelled(**identity, reason=FailureReason.RESULT_LOST.value)
    if one.claimed:
        reason, error = FailureReason.RESULT_LOST, "The attempt has ended, and the event of its result was lost"
        again_at = now if one.will_retry else None
    else:
        reason, error = FailureReason.TIMEOUT, "No result came within the timeout, and no worker holds a claim"
        policy = RetryPolicy(one.max_attempts, one.retry_first_seconds, one.retry_cap_seconds)
        wait = delay_before_next(policy, one.job_id, one.attempt, permanent=False)
        again_at = None if wait is None else now + wait
    return RunFailed(
        **identity, error=error, reason=reason.value, will_retry=again_at is not None, next_attempt_at=again_at
    )
