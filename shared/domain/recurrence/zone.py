"""A time zone as stretches of constant offset, and which local times each stretch runs.

Called by `plan.py`. In the lists of a `Stretches`, stretch k begins at instant `starts[k]` and adds `offsets[k]` to
UTC. Local times are seconds since 1970-01-01T00:00 on the zone's own clock. Under a DST policy, stretch k runs the
local times `own_from[k] <= t < own_to[k]`; where the clock jumped forward into it, the local times
`gap_from[k] <= t < own_from[k]` never were, and (policy `shift`) fall due together at `starts[k]`. With this, every
policy is the same walk over stretches: next, previous and count need no case of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate

from shared.domain.recurrence.policies import DstGap, DstOverlap
from shared.domain.recurrence.tzdb import offset_changes

FOREVER = 1 << 62
"""Seconds later than any instant; its negative is earlier than any."""


@dataclass(frozen=True, slots=True)
class Stretches:
    """A zone under one DST policy; see the module's text. All lists have one entry a stretch."""

    starts: list[int]
    offsets: list[int]
    own_from: list[int]
    own_to: list[int]
    gap_from: list[int]


@dataclass(frozen=True, slots=True)
class Clock:
    """A zone's stretches as they are, before any policy; local times in seconds. One entry a stretch."""

    starts: list[int]
    offsets: list[int]
    local_starts: list[int]
    local_ends: list[int]
    reached: list[int]  # the latest local time any earlier stretch reached: what lies before it was already run once


@cache
def clock(zone: str) -> Clock:
    """The clock of a zone. Raises KeyError for a name that is not in the database."""
    changes = offset_changes(zone)
    starts = [-FOREVER] + [instant for instant, _ in changes[1:]]
    offsets = [offset for _, offset in changes]
    local_starts = [-FOREVER] + [start + offset for start, offset in zip(starts[1:], offsets[1:], strict=True)]
    local_ends = [start + offset for start, offset in zip(starts[1:], offsets[:-1], strict=True)] + [FOREVER]
    reached = [-FOREVER, *accumulate(local_ends[:-1], max)]
    return Clock(starts, offsets, local_starts, local_ends, reached)


@lru_cache(maxsize=4096)
def stretches(zone: str, gap: DstGap, overlap: DstOverlap) -> Stretches:
    """A zone's stretches under a DST policy. Elapsed time is (skip, both). Raises KeyError for an unknown zone."""
    of_zone = clock(zone)
    own_from, own_to = of_zone.local_starts, of_zone.local_ends
    if overlap is DstOverlap.FIRST:
        own_from = [max(pair) for pair in zip(own_from, of_zone.reached, strict=True)]
    elif overlap is DstOverlap.LAST:
        later = [*reversed(list(accumulate(reversed(own_from[1:]), min))), FOREVER]
        own_to = [min(pair) for pair in zip(own_to, later, strict=True)]
    gap_from = of_zone.reached if gap is DstGap.SHIFT else [FOREVER] * len(of_zone.starts)
    return Stretches(of_zone.starts, of_zone.offsets, own_from, own_to, gap_from)
