"""Which days a cron expression names, by bit arithmetic on months.

`Expression` asks for the next or previous matching day and for counts. A day is a number of days since 1970-01-01;
a month's matching days are the bits of one integer (bit 0 is the 1st). A month has one of 28 kinds (four lengths, seven
first weekdays), so a pattern computes at most 28 masks, each when it is first needed.
"""

from __future__ import annotations

from bisect import bisect_right
from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from itertools import product

FIRST_YEAR = 1900
LAST_YEAR = 2199
"""The calendar's bounds: the longest wait of any date is 40 years (29 February on one weekday, across 2100)."""

NEVER = 1 << 40
"""A day or minute that never comes: later than any instant, small enough that its seconds stay below any sentinel."""

_EPOCH = date(1970, 1, 1).toordinal()
_EVERY_SEVENTH = 1 | 1 << 7 | 1 << 14 | 1 << 21 | 1 << 28
_KINDS = 28


def _months() -> tuple[list[int], list[int]]:
    """First day and kind of every month of the calendar, in order from January of FIRST_YEAR."""
    starts, kinds = [], []
    for year, month in product(range(FIRST_YEAR, LAST_YEAR + 1), range(1, 13)):
        weekday, length = monthrange(year, month)
        starts.append(date(year, month, 1).toordinal() - _EPOCH)
        kinds.append((length - 28) * 7 + (weekday + 1) % 7)
    return starts, kinds


MONTH_STARTS, MONTH_KINDS = _months()
FIRST_DAY = MONTH_STARTS[0]
END_DAY = date(LAST_YEAR + 1, 1, 1).toordinal() - _EPOCH


@dataclass(frozen=True, slots=True)
class DayFields:
    """The three day fields of an expression, expanded. Weekdays count from Sunday = 0."""

    days: int  # bit 0 is the 1st
    months: int  # bit 0 is January
    weekdays: int  # bit 0 is Sunday
    last_day: bool = False  # L
    last_working_day: bool = False  # LW
    nth_weekdays: tuple[tuple[int, int], ...] = ()  # 5#2: (5, 2)
    last_weekdays: tuple[int, ...] = ()  # 5L
    both: bool = True  # day-of-month and day-of-week must both match (one of them starts with a star)


class DayPattern:
    """The days that match the day fields of an expression, over the whole calendar."""

    __slots__ = ("_fields", "_in_month", "_masks", "every_day")

    def __init__(self, fields: DayFields) -> None:
        self._fields = fields
        self._masks: list[int] = [-1] * _KINDS
        self._in_month = [bool(fields.months >> month & 1) for month in range(12)]
        any_day, any_weekday = fields.days == (1 << 31) - 1, fields.weekdays == 127
        days_open = any_day and any_weekday if fields.both else any_day or any_weekday
        self.every_day = days_open and fields.months == (1 << 12) - 1

    def _compute(self, kind: int) -> int:
        """The matching days of a month of this kind, by Debian cron's rule for the two day fields."""
        fields = self._fields
        length, first = 28 + kind // 7, kind % 7
        whole = (1 << length) - 1
        days = fields.days
        if fields.last_day:
            days |= 1 << (length - 1)
        if fields.last_working_day:
            back = (2, 0, 0, 0, 0, 0, 1)[(first + length - 1) % 7]  # from Sunday and Saturday to the Friday before
            days |= 1 << (length - 1 - back)
        turned = (fields.weekdays >> first | fields.weekdays << (7 - first)) & 127
        weekdays = turned * _EVERY_SEVENTH
        for weekday, nth in fields.nth_weekdays:
            weekdays |= 1 << ((weekday - first) % 7 + 7 * (nth - 1))
        for weekday in fields.last_weekdays:
            day = (weekday - first) % 7 + 28
            weekdays |= 1 << (day if day < length else day - 7)
        mask = (days & weekdays if fields.both else days | weekdays) & whole
        self._masks[kind] = mask
        return mask

    def _mask(self, month: int) -> int:
        """The matching days of the calendar's month with this index."""
        if not self._in_month[month % 12]:
            return 0
        kind = MONTH_KINDS[month]
        mask = self._masks[kind]
        return mask if mask >= 0 else self._compute(kind)

    def matches(self, day: int) -> bool:
        """Whether this day matches; days outside the calendar do not."""
        return self.next_day(day) == day

    def next_day(self, day: int) -> int:
        """The first matching day not before this one, or NEVER."""
        day = max(day, FIRST_DAY)
        if day >= END_DAY:
            return NEVER
        month = bisect_right(MONTH_STARTS, day) - 1
        start = MONTH_STARTS[month]
        rest = self._mask(month) >> (day - start)
        if rest:
            return day + (rest & -rest).bit_length() - 1
        for later in range(month + 1, len(MONTH_STARTS)):
            mask = self._mask(later)
            if mask:
                return MONTH_STARTS[later] + (mask & -mask).bit_length() - 1
        return NEVER

    def previous_day(self, day: int) -> int:
        """The last matching day not after this one, or -NEVER."""
        day = min(day, END_DAY - 1)
        if day < FIRST_DAY:
            return -NEVER
        month = bisect_right(MONTH_STARTS, day) - 1
        mask = self._mask(month) & ((2 << (day - MONTH_STARTS[month])) - 1)
        while not mask:
            month -= 1
            if month < 0:
                return -NEVER
            mask = self._mask(month)
        return MONTH_STARTS[month] + mask.bit_length() - 1

    def count_days(self, first: int, last: int) -> int:
        """How many days from first to last, both included, match."""
        first, last = max(first, FIRST_DAY), min(last, END_DAY - 1)
        if last < first:
            return 0
        if self.every_day:
            return last - first + 1
        start = bisect_right(MONTH_STARTS, first) - 1
        end = bisect_right(MONTH_STARTS, last) - 1
        total = sum(self._mask(month).bit_count() for month in range(start, end + 1))
        before = self._mask(start) & ((1 << (first - MONTH_STARTS[start])) - 1)
        after = self._mask(end) >> (last - MONTH_STARTS[end] + 1)
        return total - before.bit_count() - after.bit_count()

    def ever_matches(self) -> bool:
        """Whether any date matches: all kinds of every named month occur in the calendar's 400-year cycle."""
        lengths = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
        for month in range(12):
            if not self._in_month[month]:
                continue
            for length in {lengths[month], 29 if month == 1 else lengths[month]}:
                if any(self._compute((length - 28) * 7 + first) for first in range(7)):
                    return True
        return False
