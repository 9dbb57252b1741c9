"""A cron expression, compiled to bits.

`compile_expression` parses the five fields (or one of the @words) once; `Expression` then answers, in local minutes
since 1970-01-01T00:00 and without any zone, which minute matches next, which matched last, and how many lie between.
Zones and their changes are `plan.py`'s business.

The syntax is the one Debian cron, cronsim and croniter share. It is parsed here by hand because croniter takes about
60 microseconds an expression and names neither field nor remedy; the tests hold both parsers together.
"""

from __future__ import annotations

from functools import lru_cache

from shared.domain.recurrence.days import NEVER, DayPattern
from shared.domain.recurrence.fields import parse_fields

MINUTES_A_DAY = 1440


class Expression:
    """A compiled cron expression. Minutes are local minutes since 1970-01-01T00:00."""

    __slots__ = ("_a_day", "_days", "_every_day", "_first", "_times", "elapsed", "hours", "text")

    def __init__(self, text: str) -> None:
        """Parse the five fields of `text` (or an @word). Raises RecurrenceError with every problem found."""
        parsed = parse_fields(text)
        self.text = parsed.text
        self.hours = parsed.hours
        self.elapsed = parsed.elapsed
        self._days: DayPattern = parsed.days
        self._every_day = parsed.days.every_day
        self._times = times = parsed.minutes * _each_hour(parsed.hours)
        self._first = (times & -times).bit_length() - 1
        self._a_day = times.bit_count()

    def next_minute(self, minute: int) -> int:
        """The first matching minute not before this one, or NEVER."""
        day, time = divmod(minute, MINUTES_A_DAY)
        found = day if self._every_day else self._days.next_day(day)
        if found == day:
            rest = self._times >> time
            if rest:
                return minute + (rest & -rest).bit_length() - 1
            found = day + 1 if self._every_day else self._days.next_day(day + 1)
        return found * MINUTES_A_DAY + self._first if found < NEVER else NEVER

    def previous_minute(self, minute: int) -> int:
        """The last matching minute not after this one, or -NEVER."""
        day, time = divmod(minute, MINUTES_A_DAY)
        found = self._days.previous_day(day)
        if found == day:
            before = self._times & ((2 << time) - 1)
            if before:
                return day * MINUTES_A_DAY + before.bit_length() - 1
            found = self._days.previous_day(day - 1)
        return found * MINUTES_A_DAY + self._times.bit_length() - 1 if found > -NEVER else -NEVER

    def count_minutes(self, first: int, last: int) -> int:
        """How many minutes from first to last, both included, match."""
        if last < first:
            return 0
        first_day, first_time = divmod(first, MINUTES_A_DAY)
        last_day, last_time = divmod(last, MINUTES_A_DAY)
        total = self._days.count_days(first_day, last_day) * self._a_day
        if self._days.matches(first_day):
            total -= (self._times & ((1 << first_time) - 1)).bit_count()
        if self._days.matches(last_day):
            total -= (self._times >> (last_time + 1)).bit_count()
        return total


@lru_cache(maxsize=4096)
def _each_hour(hours: int) -> int:
    """The bits of these hours' first minutes. Multiplied by an hour's minutes (60 bits, no carry) they are a day's."""
    return sum(1 << 60 * hour for hour in range(24) if hours >> hour & 1)


@lru_cache(maxsize=1 << 15)
def compile_expression(text: str) -> Expression:
    """The compiled form of an expression. Equal texts share one. Raises RecurrenceError."""
    return Expression(text)
