"""One claimed attempt inside this worker, and how it ended."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
from opentelemetry.trace import Span

from services.worker.task import Handler, PermanentError, TaskError, TemporaryError
from shared.artifacts import ArtifactRefused
from shared.domain.job import FailureReason
from shared.events.types import Artifact, RunDue
from shared.kafka.consumer import Record

_LONGEST_ERROR = 2_000
_LONGEST_REASON = 100


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
    claimed_monotonic: float = 0.0
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


def failure_of(error: BaseException, result_limit: int) -> Failed:
    """What a handler's exception means. What it did not foresee is worth another try."""
    if isinstance(error, TaskError):
        sentence, result = words(error) or type(error).__name__, error.result
        if result is not None and (trouble := unfit(result, result_limit)) is not None:
            sentence, result = words(f"{sentence} ({trouble})"), None
        return Failed(
            sentence,
            words(error.reason, _LONGEST_REASON),
            permanent=isinstance(error, PermanentError),
            retry_after=error.retry_after if isinstance(error, TemporaryError) else None,
            result=result,
        )
    if isinstance(error, SystemExit):
        return Failed(f"the handler called exit ({words(error.code)})", FailureReason.CRASHED)
    if isinstance(error, MemoryError):
        return Failed("the handler needed more memory than it may have", FailureReason.CRASHED)
    if isinstance(error, ArtifactRefused):
        return Failed(words(error), FailureReason.ERROR, permanent=True)
    return Failed(words(f"{type(error).__name__}: {words(error)}"), FailureReason.ERROR)


def unfit(result: object, limit: int) -> str | None:
    """Why a handler's result cannot be published; None where it can: an object that JSON can carry, not too large."""
    if not isinstance(result, dict):
        return f"the handler returned {type(result).__name__}, not an object"
    try:
        size = len(orjson.dumps(result, default=str))
    except TypeError as error:
        return f"the result is no JSON: {words(error)}"
    return None if size <= limit else f"the result has {size} bytes, {limit} are allowed: save an artifact instead"


def words(said: object, most: int = _LONGEST_ERROR) -> str:
    """Foreign text as JSON, UTF-8 and a log line can carry it: names of files may hold what is no character."""
    try:
        text = str(said)
    except Exception as error:  # noqa: BLE001 - its own __str__ is foreign code too, and may raise anything
        text = f"a {type(said).__name__} that cannot be shown ({type(error).__name__})"
    return text[:most].encode(errors="replace").decode()


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
    """The outcome that a child process sent. Anything else is a failure: foreign code can write there too."""
    try:
        fields = orjson.loads(data)
        artifacts = [Artifact.model_validate(one) for one in fields["artifacts"]]
        result = fields["result"]
        if not isinstance(result, dict | None):
            raise TypeError("a result is an object")  # noqa: TRY301 - as wrong as no JSON at all
        if "error" not in fields:
            return Succeeded(result or {}, artifacts)
        after = fields["retry_after"]
        return Failed(
            words(fields["error"]),
            words(fields["reason"], _LONGEST_REASON),
            bool(fields["permanent"]),
            None if after is None else timedelta(seconds=after),
            result,
            artifacts,
        )
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        return Failed(f"the child process sent no outcome: {error}", FailureReason.CRASHED)
