"""One claimed attempt inside this worker, and how it ended."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
from opentelemetry.trace import Span

from services.worker.task import Handler, PermanentError, TaskError, TemporaryError
from shared.domain.job import FailureReason
from shared.events.types import Artifact, RunDue
from shared.kafka.consumer import Record


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The handler returned."""

    result: dict[str, Any]
    artifacts: list[Artifact] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed; whether it is tried again is decided where the result is published."""

    error: str
    reason: str
    permanent: bool = False
    retry_after: timedelta | None = None
    result: dict[str, Any] | None = None
    artifacts: list[Artifact] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The attempt was stopped on request, or came too late to begin."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotBegun:
    """The worker stops before the attempt has begun: the claim is handed back."""


Outcome = Succeeded | Failed | Cancelled | NotBegun


@dataclass(slots=True, eq=False)
class Attempt:
    """A due run on its way through this worker."""

    due: RunDue
    record: Record
    traceparent: str | None
    handler: Handler | None
    """None where nobody here serves the type: it ends at once."""
    started_at: datetime | None = None
    """When execution began; None while it waits for its slot."""
    started_monotonic: float = 0.0
    timed_out: bool = False
    span: Span | None = None
    """Open while it executes, where traces are exported."""
    cancel_reason: str | None = None
    """Set when it was asked to stop: its end is then a cancellation, whatever the handler makes of it."""

    @property
    def key(self) -> tuple[int, int]:
        """(job_id, attempt)"""
        return self.due.job_id, self.due.attempt


def failure_of(error: BaseException) -> Failed:
    """What a handler's exception means. What it did not foresee is worth another try."""
    if isinstance(error, TaskError):
        return Failed(
            str(error) or type(error).__name__,
            error.reason,
            permanent=isinstance(error, PermanentError),
            retry_after=error.retry_after if isinstance(error, TemporaryError) else None,
            result=error.result,
        )
    if isinstance(error, SystemExit):
        return Failed(f"the handler called exit ({error.code})", FailureReason.CRASHED)
    if isinstance(error, MemoryError):
        return Failed("the handler needed more memory than it may have", FailureReason.CRASHED)
    return Failed(f"{type(error).__name__}: {error}"[:2_000], FailureReason.ERROR)


def sent(outcome: Succeeded | Failed) -> bytes:
    """An outcome on its way out of a child process: JSON, since what comes from there is only data."""
    fields: dict[str, Any] = {"artifacts": [artifact.model_dump() for artifact in outcome.artifacts]}
    if isinstance(outcome, Succeeded):
        fields |= {"result": outcome.result}
    else:
        after = outcome.retry_after
        fields |= {
            "error": outcome.error,
            "reason": str(outcome.reason),
            "permanent": outcome.permanent,
            "retry_after": after and after.total_seconds(),
            "result": outcome.result,
        }
    return orjson.dumps(fields, default=str)


def received(data: bytes) -> Succeeded | Failed:
    """The outcome that a child process sent. Anything else is a failure of its own."""
    try:
        fields = orjson.loads(data)
        artifacts = [Artifact.model_validate(one) for one in fields["artifacts"]]
        if "error" not in fields:
            return Succeeded(fields["result"], artifacts)
        after = fields["retry_after"]
        return Failed(
            fields["error"],
            fields["reason"],
            fields["permanent"],
            None if after is None else timedelta(seconds=after),
            fields["result"],
            artifacts,
        )
    except (ValueError, KeyError, TypeError) as error:
        return Failed(f"the child process sent no outcome: {error}", FailureReason.CRASHED)
