"""The coming occurrences with what a change of the clock does to each of them.

Called by preview and by the occurrences endpoint. The instants come from `next_after`, the dispatcher's own function;
this module only adds the local time and the reason.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import floor
from typing import Literal
from zoneinfo import ZoneInfo

from shared.domain.recurrence.model import Recurrence
from shared.domain.recurrence.plan import CronPlan
from shared.domain.recurrence.policies import DstGap, DstOverlap
from shared.domain.recurrence.search import next_after
from shared.domain.recurrence.zone import clock

Mark = Literal["moved", "merged", "doubled", "dropped"]
MOST_DROPPED = 1000
"""Entries `explain_dropped` lists at most."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Explained:
    """One occurrence: its instant, the same on the schedule's clock, and what a clock change did to it, if any.

    moved: its local time does not exist, it runs at the first instant after the gap. merged: several such times (or
    one and a time that is there anyway) run as one. doubled: its local time comes twice and both run. dropped: it does
    not run; `scheduled_for` is then the instant it would have had.
    """

    scheduled_for: datetime
    local: datetime
    dst: Mark | None = None
    note: str | None = None


def explain_occurrences(recurrence: Recurrence, after: datetime, count: int) -> list[Explained]:
    """The first `count` occurrences strictly after an instant, fewer only where the recurrence ends. None dropped."""
    zone = ZoneInfo(recurrence.timezone)
    found: list[Explained] = []
    instant = next_after(recurrence, after)
    while instant is not None and len(found) < count:
        mark, note = _mark(recurrence, instant)
        found.append(Explained(instant, instant.astimezone(zone), mark, note))
        instant = next_after(recurrence, instant)
    return found


def _mark(recurrence: Recurrence, instant: datetime) -> tuple[Mark | None, str | None]:
    """What a clock change did to an occurrence."""
    plan = recurrence._plan
    if not isinstance(plan, CronPlan):
        return None, None
    of_zone, expression = clock(plan.zone), plan.expression
    second = floor(instant.timestamp())
    stretch = bisect_right(of_zone.starts, second) - 1
    local = second + of_zone.offsets[stretch]
    fixed = not expression.elapsed
    begins, reached = of_zone.local_starts[stretch], of_zone.reached[stretch]
    if fixed and local == begins > reached and recurrence.dst_gap is DstGap.SHIFT:
        lost = expression.count_minutes(_up(reached), _up(begins) - 1)
        if lost:
            also_there = expression.next_minute(_up(begins)) * 60 == begins
            names = _show(expression.next_minute(_up(reached)) * 60)
            gap = f"the clock goes from {_show(reached)} to {_show(begins)}"
            if lost + also_there == 1:
                return "moved", f"{names} does not exist: {gap}, and it runs then"
            return "merged", f"{lost + also_there} occurrences, from {names}, run as one: {gap}"
    if fixed and recurrence.dst_overlap is not DstOverlap.BOTH:
        return None, None
    if local < reached:
        return "doubled", f"{_show(local)} comes twice: this is the second time"
    if stretch + 1 < len(of_zone.starts) and local >= of_zone.local_starts[stretch + 1]:
        return "doubled", f"{_show(local)} comes twice: this is the first time"
    return None, None


def explain_dropped(recurrence: Recurrence, after: datetime, until: datetime) -> list[Explained]:
    """The occurrences that do not run because of a clock change, after one instant and up to another, in order.

    Gaps drop under `dst_gap: skip`; repeated times drop one pass unless `dst_overlap` is `both`. An elapsed-time
    expression drops only what it loses: a gap of whole hours costs `*/15 * * * *` nothing, but `*/15 2 * * *` its day.
    """
    plan = recurrence._plan
    if not isinstance(plan, CronPlan):
        return []
    zone, of_zone = ZoneInfo(recurrence.timezone), clock(plan.zone)
    first, last = _bounds(recurrence, after, until)
    stretch = max(bisect_right(of_zone.starts, first), 1)
    found: list[Explained] = []
    while stretch < len(of_zone.starts) and of_zone.starts[stretch] <= last + 86_400:
        for second, note in _lost_around(recurrence, plan, stretch):
            if first < second <= last and len(found) < MOST_DROPPED:
                instant = _EPOCH + timedelta(seconds=second)
                found.append(Explained(instant, instant.astimezone(zone), "dropped", note))
        stretch += 1
    return sorted(found, key=lambda lost: lost.scheduled_for)


def _bounds(recurrence: Recurrence, after: datetime, until: datetime) -> tuple[int, int]:
    first = max(floor(after.timestamp()), recurrence._first_second - 1)
    return first, min(floor(until.timestamp()), recurrence._last_second)


def _lost_around(recurrence: Recurrence, plan: CronPlan, stretch: int) -> list[tuple[int, str]]:
    """The instants, and why, of the occurrences that the change at a stretch's start drops."""
    of_zone, elapsed = clock(plan.zone), plan.expression.elapsed
    begins, reached = of_zone.local_starts[stretch], of_zone.reached[stretch]
    before, offset = of_zone.offsets[stretch - 1], of_zone.offsets[stretch]
    if begins > reached:
        every_hour = plan.expression.hours == (1 << 24) - 1 and (begins - reached) % 3600 == 0
        kept = every_hour if elapsed else recurrence.dst_gap is DstGap.SHIFT
        times = [] if kept else _local_times(plan, reached, begins)
        gap = f"the clock goes from {_show(reached)} to {_show(begins)}"
        return [(local - before, f"{_show(local)} does not exist: {gap}") for local in times]
    if elapsed or recurrence.dst_overlap is DstOverlap.BOTH:
        return []
    second_pass = recurrence.dst_overlap is DstOverlap.FIRST
    which, shift = ("second", offset) if second_pass else ("first", before)
    times = _local_times(plan, begins, reached)
    return [(local - shift, f"{_show(local)} comes twice: the {which} time is left out") for local in times]


def _local_times(plan: CronPlan, start: int, end: int) -> list[int]:
    """The local seconds from start to before end that match the expression."""
    times = []
    found = plan.expression.next_minute(_up(start)) * 60
    while found < end:
        times.append(found)
        found = plan.expression.next_minute(found // 60 + 1) * 60
    return times


def _up(second: int) -> int:
    """The first whole minute at or after a second."""
    return -(-second // 60)


def _show(local: int) -> str:
    return (_EPOCH + timedelta(seconds=local)).strftime("%H:%M on %Y-%m-%d")
