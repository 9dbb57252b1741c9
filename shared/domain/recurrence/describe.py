"""A recurrence in plain words, for preview and for logs."""

from __future__ import annotations

from datetime import datetime

from cron_descriptor import Options, get_description  # type: ignore[import-untyped]

from shared.domain.recurrence.model import Recurrence
from shared.domain.recurrence.policies import Frequency

_NAMED = {
    Frequency.HOURLY: "Every hour, at minute 0",
    Frequency.DAILY: "Every day at 00:00",
    Frequency.WEEKLY: "Every week on Monday at 00:00",
    Frequency.MONTHLY: "Every month on day 1 at 00:00",
}
_OPTIONS = Options(use_24hour_time_format=True, locale_code="en_US")
_UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))


def describe(recurrence: Recurrence) -> str:
    """When it runs, in a sentence: the times on a 24-hour clock, the zone, the window and the jitter."""
    parts = [_times(recurrence)]
    if recurrence.frequency not in (Frequency.ONCE, Frequency.INTERVAL):
        parts.append(f"{recurrence.timezone} time")
    if recurrence.start_time and recurrence.frequency is not Frequency.ONCE:
        parts.append(f"from {_instant(recurrence.start_time)}")
    if recurrence.end_time:
        parts.append(f"until {_instant(recurrence.end_time)}")
    if recurrence.jitter_seconds:
        parts.append(f"each delayed by up to {_duration(recurrence.jitter_seconds)}")
    return ", ".join(parts)


def _times(recurrence: Recurrence) -> str:
    if recurrence.frequency is Frequency.ONCE:
        return f"Once, at {_instant(recurrence.start_time)}" if recurrence.start_time else "Never"
    if recurrence.frequency is Frequency.INTERVAL:
        return f"Every {_duration(recurrence.interval_seconds or 0)}"
    return _NAMED.get(recurrence.frequency) or _cron(recurrence.compiled_text)


def _cron(expression: str) -> str:
    """cron-descriptor's sentence; day items it misreads in a list (L, 5#2) are named in our own words instead."""
    minute, hour, day, month, weekday = expression.split()
    own = []
    if "L" in day and day not in ("L", "LW"):
        own.append(f"on day-of-month {day}")
        day = "*"
    if any(mark in weekday for mark in "#L") and any(mark in weekday for mark in ",-"):
        own.append(f"on day-of-week {weekday}")
        weekday = "*"
    sentence: str = get_description(f"{minute} {hour} {day} {month} {weekday}", _OPTIONS)
    return ", ".join([sentence, *own])


def _instant(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%d %H:%M:%S UTC")


def _duration(seconds: int) -> str:
    """Days, hours, minutes and seconds, as far as each is there."""
    words = []
    for unit, size in _UNITS:
        number, seconds = divmod(seconds, size)
        if number:
            words.append(f"{number} {unit}{'' if number == 1 else 's'}")
    return "second" if words == ["1 second"] else " ".join(words)
