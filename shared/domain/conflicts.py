"""Which schedules get in each other's way: one target, and occurrences in the same minute or the next.

The api gathers the candidates (equal project, task type and target) and shows what is found. Schedules are compared by
whole minutes over the next seven days. Expressions are compared without computing their minutes, so that ten thousand
different ones cost tens of milliseconds, in a process that has never seen them too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from shared.domain.recurrence import Frequency, Recurrence, next_after
from shared.domain.recurrence.meetings import Meetings
from shared.domain.recurrence.minutes import minute_bits
from shared.domain.recurrence.model import EXPRESSIONS
from shared.domain.recurrence.plan import IntervalPlan
from shared.domain.recurrence.tzdb import zone_names

HORIZON = timedelta(days=7)
MOST_REPORTED = 100
"""Conflicts one answer names, the most frequent first."""
_MINUTES = int(HORIZON.total_seconds()) // 60

Timing = tuple[str, str | None, int | None, str, datetime | None, datetime | None, datetime | None, str, str]
"""frequency, cron_expression, interval_seconds, timezone, start_time, end_time, anchor, dst_gap, dst_overlap."""


class Candidates(NamedTuple):
    """Other schedules that share one timing."""

    timing: Timing
    schedule_ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class Coincidence:
    """Another schedule, the first occurrence (of the one asked about) that coincides, and how many do."""

    schedule_id: int
    first_at: datetime
    count: int


def coincidences(recurrence: Recurrence, candidates: Iterable[Candidates], now: datetime) -> list[Coincidence]:
    """The other schedules that coincide with this one in the coming HORIZON, at most MOST_REPORTED."""
    minute = now.replace(second=0, microsecond=0)
    own = minute_bits(recurrence, minute, _MINUTES)
    if not own:
        return []
    meetings = Meetings(own, minute, _MINUTES)
    found: list[tuple[int, int, Sequence[int]]] = []
    for group in candidates:
        met = _met(meetings, group.timing, minute)
        if met:
            shared = meetings.ours(met)
            found.append((shared.bit_count(), shared, group.schedule_ids))
    found.sort(key=lambda one: -one[0])
    reported: list[Coincidence] = []
    for count, shared, schedule_ids in found:
        first_minute = minute + timedelta(minutes=(shared & -shared).bit_length() - 1)
        first_at = next_after(recurrence, first_minute - timedelta(microseconds=1)) or first_minute
        reported += [Coincidence(schedule_id, first_at, count) for schedule_id in schedule_ids]
        if len(reported) >= MOST_REPORTED:
            break
    return reported[:MOST_REPORTED]


def _met(meetings: Meetings, timing: Timing, minute: datetime) -> int:
    """The minutes of a stored timing that meet the one asked about."""
    frequency, expression, seconds, zone, start, end, anchor, gap, overlap = timing
    if zone not in zone_names():
        return 0  # another process's database has it: who cannot be evaluated here meets nobody, and stops nobody
    text = expression or EXPRESSIONS.get(Frequency(frequency))
    if text is not None:
        met = meetings.with_expression(text, zone, gap, overlap)
        return meetings.within(met, start, end) if met and (start or end) else met
    if seconds is not None:
        return meetings.with_interval(IntervalPlan.of(start, anchor, seconds), end)
    once = Recurrence.build(frequency=frequency, start_time=start, end_time=end)
    return meetings.with_bits(minute_bits(once, minute, _MINUTES))
