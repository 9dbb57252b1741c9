"""How a recurrence finds its occurrences: one plan a kind, over integer seconds since 1970 (UTC).

The model picks a plan; `search.py` applies the window and speaks datetimes. Each plan knows the occurrence after an
instant, the one at or before it, and how many lie in between; None means that there is none.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from math import floor
from typing import Protocol

from shared.domain.recurrence.days import END_DAY, FIRST_DAY
from shared.domain.recurrence.expression import Expression, compile_expression
from shared.domain.recurrence.policies import DstGap, DstOverlap
from shared.domain.recurrence.zone import stretches

FIRST_SECOND = (FIRST_DAY + 1) * 86_400
LAST_SECOND = END_DAY * 86_400
"""The calendar's bounds, 1900-01-02 and 2200-01-01: no cron occurrence is found outside them."""


class Plan(Protocol):
    """What every kind of recurrence can tell, in seconds since 1970."""

    def after(self, second: int) -> int | None:
        """The first occurrence strictly after a second."""

    def at_or_before(self, second: int) -> int | None:
        """The last occurrence not after a second."""

    def count(self, after: int, until: int) -> int:
        """How many occurrences lie strictly after one second and not after another."""


class CronPlan:
    """A cron expression in a zone, under its DST policies."""

    __slots__ = ("_gap_from", "_offsets", "_own_from", "_own_to", "_starts", "expression", "zone")

    def __init__(self, expression: Expression, zone: str, gap: DstGap, overlap: DstOverlap) -> None:
        """Raises KeyError for a zone the database does not know."""
        self.expression = expression
        self.zone = zone
        if expression.elapsed:  # wildcard jobs follow elapsed time: each real minute, as its local name matches
            gap, overlap = DstGap.SKIP, DstOverlap.BOTH
        clock = stretches(zone, gap, overlap)
        self._starts, self._offsets = clock.starts, clock.offsets
        self._own_from, self._own_to, self._gap_from = clock.own_from, clock.own_to, clock.gap_from

    def after(self, second: int) -> int | None:
        """The first occurrence strictly after a second, by walking forward over the zone's stretches."""
        next_minute = self.expression.next_minute
        stretch = bisect_right(self._starts, second) - 1
        offset = self._offsets[stretch]
        earliest = second + offset + 1
        own = self._own_from[stretch]
        earliest = earliest if earliest >= own else own  # noqa: FURB136 (max() would cost a tenth of the whole call)
        found = next_minute(-(-earliest // 60)) * 60
        while found >= self._own_to[stretch]:
            stretch += 1
            own = self._own_from[stretch]
            if self._gap_from[stretch] <= found < own:
                return self._starts[stretch]
            if not earliest <= own <= found:  # else nothing matches before `found` in this stretch either
                found = next_minute(-(-own // 60)) * 60
            earliest = own
            offset = self._offsets[stretch]
        return found - offset if found < LAST_SECOND else None

    def at_or_before(self, second: int) -> int | None:
        """The last occurrence not after a second, by walking backward over the zone's stretches."""
        stretch = bisect_right(self._starts, second) - 1
        latest = second + self._offsets[stretch]
        while stretch >= 0:
            latest = min(latest, self._own_to[stretch] - 1)
            found = self.expression.previous_minute(latest // 60) * 60
            if found >= self._own_from[stretch]:
                return found - self._offsets[stretch] if found >= FIRST_SECOND else None
            if found >= self._gap_from[stretch]:
                return self._starts[stretch]
            stretch -= 1
            latest = self._own_to[stretch] - 1
        return None

    def count(self, after: int, until: int) -> int:
        """How many occurrences lie in (after, until]: local counts, stretch by stretch."""
        total = 0
        stretch = bisect_right(self._starts, after) - 1
        while stretch < len(self._starts) and self._starts[stretch] <= until:
            offset, own = self._offsets[stretch], self._own_from[stretch]
            first = max(after + offset + 1, own)
            last = min(until + offset, self._own_to[stretch] - 1)
            total += self.expression.count_minutes(-(-first // 60), last // 60)
            if self._gap_from[stretch] < own and self._starts[stretch] > after:
                total += self._falls_due_at_gap_end(stretch)
            stretch += 1
        return total

    def _falls_due_at_gap_end(self, stretch: int) -> bool:
        return falls_due_at_gap_end(self.expression, self._gap_from[stretch], self._own_from[stretch])


def falls_due_at_gap_end(expression: Expression, gap_from: int, own_from: int) -> bool:
    """Whether a gap between two local seconds adds an occurrence at its end that no local time there has anyway."""
    found = expression.next_minute(-(-gap_from // 60)) * 60
    return found < own_from and expression.next_minute(-(-own_from // 60)) * 60 != own_from


class IntervalPlan:
    """Every so many seconds from an anchor; `first` is the number of the first occurrence (0 is the anchor)."""

    __slots__ = ("_anchor", "_first", "step")

    def __init__(self, anchor: int, step: int, first: int) -> None:
        self._anchor, self.step, self._first = anchor, step, first

    @classmethod
    def of(cls, start: float | None, created: float | None, step: int) -> IntervalPlan:
        """From start_time on, itself included; without one, from one interval after the creation on."""
        if start is not None:
            return cls(floor(start), step, 0)
        if created is None:
            raise ValueError("an interval is anchored at start_time or at the creation")
        return cls(floor(created), step, 1)

    def after(self, second: int) -> int:
        """The first occurrence strictly after a second."""
        number = (second - self._anchor) // self.step + 1
        return self._anchor + max(number, self._first) * self.step

    def at_or_before(self, second: int) -> int | None:
        """The last occurrence not after a second."""
        number = (second - self._anchor) // self.step
        return self._anchor + number * self.step if number >= self._first else None

    def count(self, after: int, until: int) -> int:
        """How many occurrences lie in (after, until]."""
        before = max((after - self._anchor) // self.step, self._first - 1)
        return max((until - self._anchor) // self.step - before, 0)


@lru_cache(maxsize=1 << 15)
def cron_plan(text: str, zone: str, gap: DstGap, overlap: DstOverlap) -> CronPlan:
    """The plan of an expression in a zone; equal ones share one. Raises RecurrenceError or KeyError."""
    return CronPlan(compile_expression(text), zone, gap, overlap)
