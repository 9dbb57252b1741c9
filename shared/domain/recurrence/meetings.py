"""Which minutes of one recurrence coincide with those of others, without computing the others'.

Called by conflict detection, which compares one schedule with ten thousand. The minutes of the one are cut into the
local days of each zone, once a zone; another's expression is then compared by its pattern of a day: one `and` of two
integers of 1,440 bits for all days that look alike, and its days are asked only where that finds something.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil, floor

from shared.domain.recurrence.days import DayPattern
from shared.domain.recurrence.expression import MINUTES_A_DAY, compile_expression
from shared.domain.recurrence.minutes import interval_bits
from shared.domain.recurrence.plan import IntervalPlan, falls_due_at_gap_end
from shared.domain.recurrence.policies import DstGap, DstOverlap
from shared.domain.recurrence.zone import stretches


@dataclass(slots=True)
class _Days:
    """Local days on which the same minutes are near ours: each day, and where its midnight lies among our bits."""

    near: int
    days: list[tuple[int, int]] = field(default_factory=list)
    places: dict[DayPattern, list[int]] = field(default_factory=dict)
    """The midnights of the days a pattern names. Patterns are few: a week of them is found once."""

    def places_of(self, pattern: DayPattern) -> list[int]:
        """Where the days of a pattern lie."""
        found = self.places.get(pattern)
        if found is None:
            found = self.places[pattern] = [place for day, place in self.days if pattern.matches(day)]
        return found


@dataclass(frozen=True, slots=True)
class _Gap:
    """A jump of the clock whose end is near one of ours: what the gap swallowed falls due there, under policy shift."""

    place: int
    gap_from: int
    own_from: int


@dataclass(frozen=True, slots=True)
class _Zone:
    """Our minutes on one zone's clock under one policy."""

    days: list[_Days]
    gaps: list[_Gap]


class Meetings:
    """The minutes of one recurrence; `with_…` answer with those of another's in the same minute, before or after it.

    Bits count whole minutes from `start`, as `minute_bits` does; windows are in seconds since 1970.
    """

    def __init__(self, own: int, start: datetime, minutes: int) -> None:
        self._own = own
        self._near = (own | own << 1 | own >> 1) & ((1 << minutes) - 1)
        self._base, self._minutes = int(start.timestamp()) // 60, minutes
        self._zones: dict[tuple[str, str, str], _Zone] = {}

    def with_second(self, second: int, end: float | None) -> int:
        """The minute of another's only occurrence, if it meets one of ours."""
        minute = second // 60 - self._base
        return 1 << minute & self._near if minute >= 0 and second <= self._last(end) else 0

    def with_interval(self, plan: IntervalPlan, end: float | None) -> int:
        """Those minutes of an interval, until its window's end, that meet ours."""
        return interval_bits(plan, self._base * 60, self._last(end), self._base) & self._near

    def with_expression(self, text: str, zone: str, gap: str, overlap: str) -> int:
        """The same for a cron expression, window and jitter left out. Raises RecurrenceError or KeyError."""
        expression = compile_expression(text)
        key = (zone, DstGap.SKIP, DstOverlap.BOTH) if expression.elapsed else (zone, gap, overlap)
        local = self._zones.get(key)
        if local is None:
            local = self._zones[key] = self._cut(*key)
        found = 0
        for alike in local.days:
            met = expression._times & alike.near
            if met:
                for place in alike.places_of(expression._days):
                    found |= met << place if place >= 0 else met >> -place
        for one in local.gaps:
            if falls_due_at_gap_end(expression, one.gap_from, one.own_from):
                found |= 1 << one.place
        return found

    def within(self, met: int, start: float | None, end: float | None) -> int:
        """Those of the minutes found for an expression that lie in its window, whose ends are included."""
        if start is not None:
            low = max(ceil(start / 60) - self._base, 0)
            met = met >> low << low
        if end is not None:
            high = self._last(end) // 60 - self._base
            met &= (1 << max(high + 1, 0)) - 1
        return met

    def _last(self, end: float | None) -> int:
        """The last second before our minutes end and another's window does."""
        last = (self._base + self._minutes) * 60 - 1
        return last if end is None else min(last, floor(end))

    def ours(self, met: int) -> int:
        """Our own minutes that another's, as found by `with_…`, meet."""
        return self._own & (met | met << 1 | met >> 1)

    def _cut(self, zone: str, gap: str, overlap: str) -> _Zone:
        """Stretch by stretch of the zone, day by day."""
        clock = stretches(zone, DstGap(gap), DstOverlap(overlap))
        first, last = self._base * 60, (self._base + self._minutes) * 60 - 1
        alike: dict[int, _Days] = {}
        gaps = []
        stretch = bisect_right(clock.starts, first) - 1
        while stretch < len(clock.starts) and clock.starts[stretch] <= last:
            start, offset, own = clock.starts[stretch], clock.offsets[stretch], clock.own_from[stretch]
            begin, end = max(first + offset, own), min(last + offset, clock.own_to[stretch] - 1)
            for day, near, place in self._local_days(-(-begin // 60), end // 60, offset // 60 + self._base):
                alike.setdefault(near, _Days(near)).days.append((day, place))
            if clock.gap_from[stretch] < own and start >= first and self._near >> (start // 60 - self._base) & 1:
                gaps.append(_Gap(start // 60 - self._base, clock.gap_from[stretch], own))
            stretch += 1
        return _Zone(list(alike.values()), gaps)

    def _local_days(self, first: int, last: int, shift: int) -> list[tuple[int, int, int]]:
        """The local days between two local minutes that have some near ours: day, those minutes, and its place."""
        found = []
        for day in range(first // MINUTES_A_DAY, last // MINUTES_A_DAY + 1) if first <= last else ():
            midnight = day * MINUTES_A_DAY
            place = midnight - shift
            near = self._near >> place if place >= 0 else self._near << -place
            low, high = max(first - midnight, 0), min(last - midnight, MINUTES_A_DAY - 1)
            near &= (1 << high + 1) - (1 << low)
            if near:
                found.append((day, near, place))
        return found
