"""Whether and when a failed attempt is tried again. Called by the worker and by the dispatcher's rescue."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta

DEFAULT_FIRST_SECONDS = 30.0
DEFAULT_CAP_SECONDS = 3_600.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a job is tried, and how long it waits in between (seconds)."""

    max_attempts: int = 3
    first_seconds: float = DEFAULT_FIRST_SECONDS
    cap_seconds: float = DEFAULT_CAP_SECONDS


def delay_before_next(
    policy: RetryPolicy, job_id: int, attempt: int, *, permanent: bool, retry_after: timedelta | None = None
) -> timedelta | None:
    """How long to wait after failed attempt number `attempt`, or None when the job is given up.

    Exponential back-off with "equal jitter": half of the delay is fixed, half spread by a hash of (job, attempt), so
    that a repeat of the same decision gives the same instant and a herd of failures does not come back as a herd.
    A server's Retry-After lengthens the delay, never beyond the cap.
    """
    if permanent or attempt >= policy.max_attempts:
        return None
    full = min(policy.cap_seconds, policy.first_seconds * 2.0 ** min(attempt - 1, 40))
    digest = hashlib.blake2b(f"{job_id}/{attempt}".encode(), digest_size=8).digest()
    seconds = full / 2 + full / 2 * (int.from_bytes(digest) / 2**64)
    if retry_after is not None:
        seconds = min(policy.cap_seconds, max(seconds, retry_after.total_seconds()))
    return timedelta(seconds=seconds)
