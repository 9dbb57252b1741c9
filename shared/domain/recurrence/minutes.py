"""The minutes at which a recurrence falls due, as the bits of one integer.

Called by conflict detection, which compares thousands of schedules: two integers of ten thousand bits are compared in
less than a microsecond. Whole days are set at once by shifting the expression's pattern of a day; nothing is walked.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime

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
        return _interval_bits(plan, recurrence.interval_seconds or 1, first, last, base)
    once = recurrence.start_time
    second = int(once.timestamp()) if once else -1
    return 1 << (second // 60 - base) if base * 60 <= second <= last else 0


def _interval_bits(plan: IntervalPlan, step: int, first: int, last: int, base: int) -> int:
    second = plan.after(first - 1)
    if second is None or second > last:
        return 0
    if step <= 60:
        return ((1 << (last // 60 - second // 60 + 1)) - 1) << (second // 60 - base)
    bits = 0
    while second <= last:
        bits |= 1 << (second // 60 - base)
        second += step
    return bits


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
