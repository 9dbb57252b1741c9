"""Which schedules get in each other's way: one target, and occurrences in the same minute or the next.

The api gathers the candidates (equal project, task type and target) and shows what is found. Schedules are compared by
whole minutes over the next seven days. Expressions are compared without computing their minutes, so that ten thousand
different ones cost tens of milliseconds, in a process that has never seen them too. Candidates come as columns: an
object for each of ten thousand would cost as much as comparing it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import floor
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

Timing = tuple[str | None, int | None, float | None, float | None, float | None]
"""cron_expression, interval_seconds, then in seconds since 1970: start_time, end_time, and an interval's creation."""


class Candidates(NamedTuple):
    """Other schedules of one frequency, zone and DST policies: their ids, and the timing of each."""

    frequency: str
    timezone: str
    dst_gap: str
    dst_overlap: str
    schedule_ids: Sequence[int]
    timings: Iterable[Timing]


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
    found: list[tuple[int, int, int]] = []
    for group in candidates:
        found += _meeting(meetings, group)
    found.sort(key=lambda one: -one[0])
    reported = []
    for count, first, schedule_id in found[:MOST_REPORTED]:
        first_minute = minute + timedelta(minutes=first)
        first_at = next_after(recurrence, first_minute - timedelta(microseconds=1)) or first_minute
        reported.append(Coincidence(schedule_id, first_at, count))
    return reported


def _meeting(meetings: Meetings, group: Candidates) -> list[tuple[int, int, int]]:
    """Those of a group that meet ours: how many of our minutes, the first of them, and the schedule's id."""
    if group.timezone not in zone_names():
        return []  # another process's database has it: who cannot be evaluated here meets nobody, and stops nobody
    found = []
    # A project has many schedules and few timings. Kept are two numbers of each: the minutes of all take 70 MB.
    known: dict[Timing, tuple[int, int]] = {}
    for schedule_id, timing in zip(group.schedule_ids, group.timings, strict=True):
        summary = known.get(timing)
        if summary is None:
            ours = meetings.ours(_met(meetings, group, timing))
            summary = known[timing] = ours.bit_count(), (ours & -ours).bit_length() - 1
        count, first = summary
        if count:
            found.append((count, first, schedule_id))
    return found


def _met(meetings: Meetings, group: Candidates, timing: Timing) -> int:
    """The minutes of a stored timing that meet the one asked about."""
    expression, seconds, start, end, created = timing
    text = expression or EXPRESSIONS.get(Frequency(group.frequency))
    if text is not None:
        met = meetings.with_expression(text, group.timezone, group.dst_gap, group.dst_overlap)
        return meetings.within(met, start, end) if met else 0
    if seconds is not None:
        return meetings.with_interval(IntervalPlan.of(start, created, seconds), end)
    return meetings.with_second(floor(start), end) if start is not None else 0
