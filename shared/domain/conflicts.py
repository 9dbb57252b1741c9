"""Which schedules get in each other's way: one target, and occurrences in the same minute or the next.

The api gathers the candidates (equal project, task type and target) and shows what is found. Schedules are compared by
whole minutes over the next seven days; the patterns of equal timings are shared and remembered for a day.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from shared.domain.recurrence import Recurrence, next_after
from shared.domain.recurrence.minutes import minute_bits

HORIZON = timedelta(days=7)
MOST_REPORTED = 100
"""Conflicts one answer names, the most frequent first."""
_MINUTES = int(HORIZON.total_seconds()) // 60
_DAY = 1440

Timing = tuple[str, str | None, int | None, str, datetime | None, datetime | None, datetime | None, str, str]
"""frequency, cron_expression, interval_seconds, timezone, start_time, end_time, anchor, dst_gap, dst_overlap."""


@dataclass(frozen=True, slots=True)
class Candidates:
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
    near = own | own << 1 | own >> 1
    found: list[tuple[int, int, Sequence[int]]] = []
    for group in candidates:
        theirs = _week_bits(group.timing, minute)
        if near & theirs:
            shared = own & (theirs | theirs << 1 | theirs >> 1)
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


def _week_bits(timing: Timing, minute: datetime) -> int:
    """A timing's minutes from `minute` on, cut out of its remembered days."""
    day = minute.replace(hour=0, minute=0)
    offset = minute.hour * 60 + minute.minute
    return (_days_bits(timing, day) >> offset) & ((1 << _MINUTES) - 1)


@lru_cache(maxsize=16_384)
def _days_bits(timing: Timing, day: datetime) -> int:
    """A timing's minutes of eight days; the first and last of them are needed in part."""
    frequency, expression, seconds, zone, start, end, anchor, gap, overlap = timing
    recurrence = Recurrence.build(
        frequency=frequency,
        cron_expression=expression,
        interval_seconds=seconds,
        timezone=zone,
        start_time=start,
        end_time=end,
        anchor=anchor,
        dst_gap=gap,
        dst_overlap=overlap,
    )
    return minute_bits(recurrence, day, _MINUTES + _DAY)
