"""A POSIX TZ rule (the footer of a TZif file) as changes of offset, year by year.

Called by `tzdb.py` for the years after a zone's last listed change. Grammar: POSIX.1-2017 section 8.3 with the
extensions of RFC 8536 section 3.3.1 (hours from -167 to 167).
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date

_NAME = r"(?:<[^>]+>|[A-Za-z]+)"
_TIME = r"[+-]?\d+(?::\d+)?(?::\d+)?"
_RULE = re.compile(rf"({_NAME})({_TIME})(?:({_NAME})({_TIME})?,([^,/]+)(?:/({_TIME}))?,([^,/]+)(?:/({_TIME}))?)?")
_EPOCH = date(1970, 1, 1).toordinal()
_DAY = 86_400


def rule_changes(footer: str, after: int, last_year: int) -> list[tuple[int, int]]:
    """The changes a rule makes later than an instant, to the end of a year: (instant, seconds east of UTC)."""
    found = _RULE.fullmatch(footer)
    if not found:
        raise ValueError(f"not a POSIX time zone rule: {footer}")
    _, standard_text, summer_name, summer_text, start, start_time, end, end_time = found.groups()
    standard = -_seconds(standard_text)  # POSIX counts west of UTC
    if not summer_name:
        return []
    summer = -_seconds(summer_text) if summer_text else standard + 3600
    first_year = max(1970, date.fromordinal(_EPOCH + max(after, 0) // _DAY).year)
    changes = []
    for year in range(first_year, last_year + 1):
        changes.append((_instant(year, start, start_time) - standard, summer))
        changes.append((_instant(year, end, end_time) - summer, standard))
    return sorted(change for change in changes if change[0] > after)


def _seconds(text: str) -> int:
    sign = -1 if text.startswith("-") else 1
    hours, minutes, seconds = ([int(part) for part in text.lstrip("+-").split(":")] + [0, 0])[:3]
    return sign * (hours * 3600 + minutes * 60 + seconds)


def _instant(year: int, day: str, time: str | None) -> int:
    """The local second of a change in a year: day as Mm.w.d, Jn or n; time defaults to 02:00."""
    return _day_number(year, day) * _DAY + (_seconds(time) if time else 7200)


def _day_number(year: int, rule: str) -> int:
    """Days since 1970-01-01 of a rule's day in a year."""
    if rule.startswith("M"):
        month, week, weekday = (int(part) for part in rule[1:].split("."))
        first, length = monthrange(year, month)
        day = 1 + (weekday - (first + 1)) % 7 + 7 * (week - 1)
        day = day - 7 if day > length else day
        return date(year, month, day).toordinal() - _EPOCH
    start = date(year, 1, 1).toordinal() - _EPOCH
    if not rule.startswith("J"):
        return start + int(rule)
    leap_shift = monthrange(year, 2)[1] == 29 and int(rule[1:]) > 59  # Jn never counts 29 February
    return start + int(rule[1:]) - 1 + leap_shift
