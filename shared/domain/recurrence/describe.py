"""A recurrence in plain words, for preview and for logs."""

from __future__ import annotations

from datetime import datetime

from cron_descriptor import FormatError, Options, get_description  # type: ignore[import-untyped]

from shared.domain.recurrence.day_words import own_words
from shared.domain.recurrence.fields import HOUR, MINUTE, MONTH, FieldSpec, values_of
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
    """cron-descriptor's sentence, with the days in our own words where it would misread them."""
    minute, hour, day, month, weekday = expression.split()
    minute, hour, month = _plain_list(MINUTE, minute), _plain_list(HOUR, hour), _plain_list(MONTH, month)
    days = own_words(day, weekday)
    if days:
        day = weekday = "*"
    text = f"{minute} {hour} {day} {month} {weekday}"
    try:
        sentence = str(get_description(text, _OPTIONS))
    except FormatError:  # it cannot word everything that is valid; the expression itself still says it
        return f"By the cron expression {expression}"
    return f"{sentence}, {days}" if days else sentence


def _plain_list(spec: FieldSpec, text: str) -> str:
    """A list with steps in it, which cron-descriptor cannot word, as plain values; anything else as it is."""
    if "," not in text or "/" not in text:
        return text
    return ",".join(str(value) for value in values_of(spec, text))


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
