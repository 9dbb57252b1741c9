"""What to do with occurrences that fell due while nobody was dispatching.

Called by the dispatcher for every schedule it claims: almost always one occurrence is due, and the answer is to run it.
After an outage the schedule's policy decides which of many run and which are recorded as skipped. The work is bounded
however long the outage: missed occurrences are counted by calendar arithmetic, never walked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from shared.domain.recurrence import Recurrence, count_between, last_until, next_after

GRACE = timedelta(seconds=60)
"""How late an occurrence may be claimed and still count as on time, for the policy `none`."""
MOST_JOBS = 1000
"""Jobs one call creates at most under the policy `all`; the rest is due again at once."""
_INSTANT = timedelta(microseconds=1)


class CatchupPolicy(StrEnum):
    """Which missed occurrences run."""

    LATEST = "latest"
    ALL = "all"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class SkipRange:
    """Occurrences recorded as skipped: the first, the last, and how many from the one to the other."""

    first: datetime
    last: datetime
    count: int
    reason: str = "catchup"


@dataclass(frozen=True, slots=True)
class CatchUp:
    """The decision: occurrences to run (oldest first), ranges to record as skipped, and the next occurrence to store.

    `next` may lie in the past: under `all`, when more is due than one call may create.
    """

    run: tuple[datetime, ...]
    skips: tuple[SkipRange, ...]
    next: datetime | None


def catch_up(
    recurrence: Recurrence,
    first_due: datetime,
    now: datetime,
    policy: CatchupPolicy,
    window: timedelta,
    *,
    grace: timedelta = GRACE,
    max_jobs: int = MOST_JOBS,
    delay: Callable[[datetime, datetime | None], timedelta] | None = None,
) -> CatchUp:
    """Decide about every occurrence from `first_due` (stored, unclaimed, not after now) to now.

    An occurrence later than `window` (inclusive) never runs. A window of nothing makes up for nothing; what is on time
    (GRACE) runs all the same, every claim being some milliseconds late. `latest` runs the most recent one; `all` runs
    every one, `max_jobs` a call; `none` runs the most recent one if it is at most `grace` plus the jitter late. `delay`
    gives an occurrence's jitter (from it and its following one): one that is still held back by it is not due yet.
    """
    following = next_after(recurrence, first_due)
    if following is None or following > now:
        last = first_due
    else:
        last = _last_due(recurrence, first_due, now, delay)
        following = next_after(recurrence, last)
    window = window or GRACE
    latest_by = timedelta(seconds=recurrence.jitter_seconds) + (min(grace, window) if policy == "none" else window)
    oldest = now - latest_by
    if last < oldest:
        return CatchUp((), (_skip(recurrence, first_due, last),), following)
    if policy == CatchupPolicy.ALL:
        return _run_all(recurrence, first_due, last, oldest, max_jobs)
    if first_due == last:
        return CatchUp((last,), (), following)
    before = _previous(recurrence, last, first_due)
    return CatchUp((last,), (_skip(recurrence, first_due, before),), following)


def _last_due(
    recurrence: Recurrence,
    first_due: datetime,
    now: datetime,
    delay: Callable[[datetime, datetime | None], timedelta] | None,
) -> datetime:
    """The most recent occurrence that is due; only the very last can still be held back by its jitter."""
    last = max(last_until(recurrence, now) or first_due, first_due)
    if delay and last > first_due and last + delay(last, next_after(recurrence, last)) > now:
        last = _previous(recurrence, last, first_due)
    return last


def _previous(recurrence: Recurrence, before: datetime, first_due: datetime) -> datetime:
    """The last occurrence before an instant, or `first_due`, which was stored as due whatever the rules say now."""
    return max(last_until(recurrence, before - _INSTANT) or first_due, first_due)


def _run_all(recurrence: Recurrence, first_due: datetime, last: datetime, oldest: datetime, max_jobs: int) -> CatchUp:
    """Every occurrence not too old, up to `max_jobs`; the older ones as one skip."""
    skips: tuple[SkipRange, ...] = ()
    begin: datetime | None = first_due
    if first_due < oldest:
        before = _previous(recurrence, oldest, first_due)
        skips = (_skip(recurrence, first_due, before),)
        begin = next_after(recurrence, before)
    run: list[datetime] = []
    while begin is not None and begin <= last and len(run) < max_jobs:
        run.append(begin)
        begin = next_after(recurrence, begin)
    return CatchUp(tuple(run), skips, begin)


def _skip(recurrence: Recurrence, first: datetime, last: datetime) -> SkipRange:
    """The range from one due occurrence to another; the first counts even if its recurrence has changed since."""
    return SkipRange(first, last, 1 + count_between(recurrence, first, last))
