"""The day fields of a cron expression in words, where cron-descriptor would mislead.

Called by `describe`. cron-descriptor joins day-of-month and day-of-week by "or" whatever the star rule says, calls the
days 1, 11, 21 and 31 "every 10 days", and drops one of L and 5#2 in a list.
"""

from __future__ import annotations

from shared.domain.recurrence.fields import DAY, WEEKDAY, days_are_and, read_field, values_of

_OPEN = ("*", "?")
_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_NTH = ("first", "second", "third", "fourth", "fifth")


def own_words(day: str, weekday: str) -> str | None:
    """Which days two valid fields name; None where only one limits them, in a form cron-descriptor words well."""
    if weekday in _OPEN and (day in _OPEN or _is_simple(day, "L")):
        return None
    if day in _OPEN and _is_simple(weekday, "L#"):
        return None
    days = "" if day in _OPEN else f"on {_days(day)} of the month"
    weekdays = "" if weekday in _OPEN else _weekdays(weekday)
    if not weekdays:
        return days
    if not days:
        return f"on {weekdays}"
    return f"{days}, only when it is {weekdays}" if days_are_and(day, weekday) else f"{days}, and also on {weekdays}"


def _is_simple(text: str, marks: str) -> bool:
    """No steps, and a special item only alone."""
    return "/" not in text and not (any(mark in text for mark in marks) and any(sign in text for sign in ",-"))


def _days(text: str) -> str:
    read = read_field(DAY.name, text)
    words = _runs([str(value) for value in range(32)], values_of(DAY, text))
    words += ["the last day"] * read.last + ["the last working day"] * read.last_working
    return f"day {_joined(words)}" if read.bits else _joined(words)


def _weekdays(text: str) -> str:
    read = read_field(WEEKDAY.name, text)
    words = _runs(list(_WEEKDAYS), values_of(WEEKDAY, text))
    words += [f"the {_NTH[number - 1]} {_WEEKDAYS[weekday]} of the month" for weekday, number in read.nth]
    words += [f"the last {_WEEKDAYS[weekday]} of the month" for weekday in read.last_weekdays]
    return _joined(words)


def _runs(names: list[str], values: list[int]) -> list[str]:
    """The names of the values, three or more in a row as `first to last`."""
    words: list[str] = []
    rest = list(values)
    while rest:
        length = next((n for n in range(1, len(rest)) if rest[n] != rest[0] + n), len(rest))
        run, rest = rest[:length], rest[length:]
        words += [f"{names[run[0]]} to {names[run[-1]]}"] if length > 2 else [names[value] for value in run]
    return words


def _joined(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
