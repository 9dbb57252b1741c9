"""The minutes at which a recurrence falls due, as the bits of one integer.

Called by conflict detection: two integers of ten thousand bits are compared in less than a microsecond. Whole days are
set at once by shifting the expression's pattern of a day, an interval's repetitions by doubling; nothing is walked.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime
from functools import lru_cache
from math import gcd

from shared.domain.recurrence.expression import MINUTES_A_DAY
from shared.domain.recurrence.model import Recurrence
from shared.domain.recurrence.plan import CronPlan, IntervalPlan


def minute_bits(recurrence: Recurrence, start: datetime, minutes: int) -> int:
    """Bit k is set when an occurrence lies in the k-th minute after `start` (aware, a whole minute), k < `minutes`."""
    base = int(start.timestamp()) // 60
    first = max(base * 60, recurrence._first_second)
    last = min((base + minutes) * 60 - 1, recurrence._last_second)
    if first > last:
        return 0
    plan = recurrence._plan
    if isinstance(plan, CronPlan):
        return _cron_bits(plan, first, last, base)
    if isinstance(plan, IntervalPlan):
        return interval_bits(plan, first, last, base)
    once = recurrence.start_time
    second = int(once.timestamp()) if once else -1
    return 1 << (second // 60 - base) if base * 60 <= second <= last else 0


def interval_bits(plan: IntervalPlan, first: int, last: int, base: int) -> int:
    """The same for an interval from one second to another; `base` is the minute of the first bit."""
    second, step = plan.after(first - 1), plan.step
    if second > last:
        return 0
    final = second + (last - second) // step * step
    inside = (1 << final // 60 - base + 1) - 1
    offset = second - base * 60
    if step % 60 == 0:
        offset -= offset % 60  # within the minute it makes no difference, and more anchors share one pattern
    return _beat(step, offset, last // 60 - base + 1) & inside


@lru_cache(maxsize=4096)
def _beat(step: int, offset: int, minutes: int) -> int:
    """Every `step` seconds from `offset` on: one by one until the pattern of minutes repeats, then by doubling it."""
    if step <= 60:
        return ((1 << minutes) - 1) >> offset // 60 << offset // 60
    length = step // gcd(step, 60)
    bits = 0
    for second in range(offset, min(offset + length * 60, minutes * 60), step):
        bits |= 1 << second // 60
    while length < minutes:
        bits |= bits << length
        length *= 2
    return bits & ((1 << minutes) - 1)


def _cron_bits(plan: CronPlan, first: int, last: int, base: int) -> int:
    """Stretch by stretch of the zone, as `CronPlan.count` does."""
    bits = 0
    stretch = bisect_right(plan._starts, first) - 1
    while stretch < len(plan._starts) and plan._starts[stretch] <= last:
        offset, own = plan._offsets[stretch], plan._own_from[stretch]
        begin = max(first + offset, own)
        end = min(last + offset, plan._own_to[stretch] - 1)
        if begin <= end:
            shift = offset // 60 + base  # from local minutes to bits
            bits |= _local_bits(plan, -(-begin // 60), end // 60, shift)
        if plan._gap_from[stretch] < own and plan._starts[stretch] >= first and plan._falls_due_at_gap_end(stretch):
            bits |= 1 << (plan._starts[stretch] // 60 - base)
        stretch += 1
    return bits


def _local_bits(plan: CronPlan, first: int, last: int, shift: int) -> int:
    """The matching local minutes from first to last, moved by `shift`."""
    expression = plan.expression
    bits = 0
    for day in range(first // MINUTES_A_DAY, last // MINUTES_A_DAY + 1):
        if not expression._days.matches(day):
            continue
        times, midnight = expression._times, day * MINUTES_A_DAY
        if last - midnight + 1 < MINUTES_A_DAY:
            times &= (1 << (last - midnight + 1)) - 1
        if first > midnight:
            times = times >> (first - midnight) << (first - midnight)
        place = midnight - shift
        bits |= times << place if place >= 0 else times >> -place
    return bits
