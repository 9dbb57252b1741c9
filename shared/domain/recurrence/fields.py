"""The text of a cron expression: five fields, read into bits, with every mistake named.

Called by `Expression`. A field is read item by item; an item that is wrong yields what is allowed and, where one is
obvious, a better item. Grammar: `*`, `?` (day fields, same as `*`), N, names, ranges, steps (`N/step` is N to the
field's end), lists, `L` and `LW` (day-of-month), `5L`, `L5` and `5#2` (day-of-week), and the @words.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from shared.domain.recurrence.days import DayFields, DayPattern
from shared.domain.recurrence.errors import Problem, RecurrenceError
from shared.domain.recurrence.suggestions import closest, closest_item

WORDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
MONTH_NAMES = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
LONGEST = 1000
"""Characters an expression may have: more than every value of every field written out."""

_FIELD = "cron_expression"
_NO_SECONDS = "seconds and years have no field (for less than a minute use the frequency interval)"


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One of the five fields: its bounds and the names it knows."""

    name: str
    low: int
    high: int
    names: dict[str, int] = field(default_factory=dict)

    @property
    def allowed(self) -> str:
        bounds = f"{self.low}–{self.high}"
        if not self.names:
            return bounds
        words = list(self.names)
        return f"{bounds} or {words[0]}–{words[-1]}"


MINUTE = FieldSpec("minute", 0, 59)
HOUR = FieldSpec("hour", 0, 23)
DAY = FieldSpec("day-of-month", 1, 31)
MONTH = FieldSpec("month", 1, 12, {name: number for number, name in enumerate(MONTHS, 1)})
WEEKDAY = FieldSpec("day-of-week", 0, 7, {name: number for number, name in enumerate(WEEKDAYS)})
SPECS = (MINUTE, HOUR, DAY, MONTH, WEEKDAY)


class _ItemError(Exception):
    """One item of a field that cannot be read: why, and what was perhaps meant."""

    def __init__(self, message: str, instead: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.instead = instead


@dataclass(slots=True)
class FieldValues:
    """One field, read: bit n set for value n, and the day fields' special items."""

    bits: int = 0
    last: bool = False
    last_working: bool = False
    nth: tuple[tuple[int, int], ...] = ()
    last_weekdays: tuple[int, ...] = ()
    wrong: tuple[tuple[str, str, str | None], ...] = ()  # item, message, better item


class ParsedFields(NamedTuple):
    """The five fields, read and combined."""

    text: str  # upper case, single spaces, @words written out
    minutes: int  # bit 0 is minute 0
    hours: int
    days: DayPattern
    elapsed: bool  # the minute or the hour field starts with a star: Debian cron's wildcard jobs


def parse_fields(text: str) -> ParsedFields:
    """Read an expression. Raises RecurrenceError naming every wrong field."""
    parts = _split(text)
    minute, hour = read_field(MINUTE.name, parts[0]), read_field(HOUR.name, parts[1])
    pattern = day_pattern(parts[2], parts[3], parts[4])
    if minute.wrong or hour.wrong or pattern is None:
        raise RecurrenceError(_problems(text, parts))
    elapsed = parts[0].startswith("*") or parts[1].startswith("*")
    return ParsedFields(" ".join(parts), minute.bits, hour.bits, pattern, elapsed)


def _split(text: str) -> list[str]:
    """The five fields of the text, in upper case. Raises RecurrenceError when there are not five."""
    if len(text) > LONGEST:
        problem = Problem(_FIELD, text[:60] + "…", f"an expression has at most {LONGEST:,} characters")
        raise RecurrenceError([problem])
    parts = text.upper().split()
    if len(parts) == 1 and (word := WORDS.get(text.strip().lower())):
        return word.split()
    if len(parts) == 5 and not parts[0].startswith(("@", "TZ=", "CRON_TZ=")):
        return parts
    raise RecurrenceError([_wrong_count(text, parts)])


def _wrong_count(text: str, parts: list[str]) -> Problem:
    """Why a text that has not five fields is refused."""
    shown = " ".join(text.split())
    count = len(parts)
    if count == 0:
        return Problem(_FIELD, text, "the expression is empty, 5 fields are needed: " + _names(), "0 2 * * *")
    if parts[0].startswith(("TZ=", "CRON_TZ=")):
        zone, rest = shown.split("=", 1)[1].split(" ", 1)[0], " ".join(shown.split(" ")[1:])
        return Problem(_FIELD, text, f"{zone} belongs in the field timezone, not in the expression", rest or None)
    if parts[0] == "@REBOOT":
        return Problem(_FIELD, text, "@reboot is refused: a schedule is due by time, and services restart unseen")
    if parts[0] == "@EVERY":
        return Problem(_FIELD, text, "@every is refused: use the frequency interval with interval_seconds")
    if count == 1:
        word = closest(shown.lower().removeprefix("@"), [known[1:] for known in WORDS])
        message = f"{shown} is not one of {', '.join(WORDS)}" if shown.startswith("@") else _count(shown, 1)
        return Problem(_FIELD, text, message, f"@{word}" if word else None)
    if count > 5:
        return Problem(_FIELD, text, f"{_count(shown, count)}; {_NO_SECONDS}", _without_seconds(parts))
    return Problem(_FIELD, text, _count(shown, count), _if_valid([*shown.split(), *["*"] * (5 - count)]))


def _count(shown: str, count: int) -> str:
    return f"{shown} has {count} field{'' if count == 1 else 's'}, 5 are needed: {_names()}"


def _names() -> str:
    return ", ".join(spec.name for spec in SPECS)


def _without_seconds(parts: list[str]) -> str | None:
    """A Quartz expression's five fields, when its seconds are a plain 0 and its year is open."""
    year_open = len(parts) == 6 or (len(parts) == 7 and parts[6] == "*")
    return _if_valid(parts[1:6]) if parts[0] == "0" and year_open else None


def _if_valid(parts: list[str]) -> str | None:
    """The expression made of these parts, if it can be read."""
    upper = [part.upper() for part in parts]
    wrong = read_field(MINUTE.name, upper[0]).wrong or read_field(HOUR.name, upper[1]).wrong
    return None if wrong or day_pattern(*upper[2:]) is None else " ".join(parts)


def _problems(text: str, parts: list[str]) -> list[Problem]:
    """One problem for every wrong item, with the whole expression mended where it can be; else why no date matches."""
    fields = [read_field(spec.name, part) for spec, part in zip(SPECS, parts, strict=True)]
    if not any(read.wrong for read in fields):
        return [Problem(_FIELD, text, _never(parts[2], parts[3], parts[4], fields[2], fields[3]))]
    mended = []
    for part, read in zip(parts, fields, strict=True):
        instead = {item: better for item, _, better in read.wrong}
        items = [instead.get(item, item) or item for item in part.split(",")]
        mended.append(",".join(items))
    whole = _if_valid(mended)
    return [Problem(_FIELD, text, message, whole or better) for read in fields for _, message, better in read.wrong]


@lru_cache(maxsize=4096)
def read_field(name: str, text: str) -> FieldValues:
    """Read one field; what is wrong is kept in `wrong`. The result is shared: never change it."""
    spec = next(spec for spec in SPECS if spec.name == name)
    result = FieldValues()
    for item in text.split(","):
        try:
            _read_item(spec, item, result)
        except _ItemError as wrong:
            result.wrong += ((item, wrong.message, wrong.instead),)
    return result


def _read_item(spec: FieldSpec, item: str, result: FieldValues) -> None:
    """Add what one item of a list names to the result. Raises _ItemError."""
    if item == "*" or (item == "?" and spec in (DAY, WEEKDAY)):
        result.bits |= _range_bits(spec.low, spec.high, 1)
    elif spec is DAY and item in ("L", "LW"):
        result.last |= item == "L"
        result.last_working |= item == "LW"
    elif spec is WEEKDAY and "#" in item:
        result.nth += _nth(item)
    elif spec is WEEKDAY and len(item) > 1 and item not in spec.names and (item[0] == "L" or item[-1] == "L"):
        result.last_weekdays += (_value(spec, item[1:] if item[0] == "L" else item[:-1], item) % 7,)
    else:
        result.bits |= _plain(spec, item)


def _plain(spec: FieldSpec, item: str) -> int:
    """The bits of `*/step`, N, N/step, N-M or N-M/step."""
    if not item:
        raise _ItemError(f"{spec.name} has an empty item in its list: {spec.allowed} is allowed")
    body, slash, step_text = item.partition("/")
    step = _step(spec, item, step_text) if slash else 1
    low_text, dash, high_text = body.partition("-")
    if body == "*":
        low, high = spec.low, spec.high
    elif dash:
        low, high = _value(spec, low_text, item), _value(spec, high_text, item)
        high = 7 if high_text == "SUN" and low else high  # MON-SUN means MON-7
        if low > high:
            raise _backwards(spec, item, low, high)
        if low == high and slash:
            high = spec.high  # cronsim reads 5-5/2 as 5/2; Debian and croniter each otherwise; nobody writes it
    else:
        low = _value(spec, low_text, item)
        high = spec.high if slash else low
    return _range_bits(low, high, step)


def _range_bits(low: int, high: int, step: int) -> int:
    bits = 0
    for value in range(low, high + 1, step):
        bits |= 1 << value
    return bits


def _step(spec: FieldSpec, item: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise _ItemError(f"{spec.name} {item}: a step is a whole number from 1")
    step = int(text[:4])
    if step == 0:
        raise _ItemError(f"{spec.name} {item}: a step is a whole number from 1", item.partition("/")[0])
    return step


def _backwards(spec: FieldSpec, item: str, low: int, high: int) -> _ItemError:
    """A range such as 22-2: named, and written the way it can be read (a step cannot be carried over)."""
    message = f"{spec.name} {item} runs backwards: a range goes from low to high within {spec.allowed}"
    if "/" in item:
        return _ItemError(message)
    end = 6 if spec is WEEKDAY else spec.high
    first = str(low) if low == end else f"{low}-{end}"
    second = str(spec.low) if high == spec.low else f"{spec.low}-{high}"
    if spec is WEEKDAY and high == 0:
        first, second = f"{low}-7", ""
    return _ItemError(message, f"{first},{second}" if second else first)


def _value(spec: FieldSpec, text: str, item: str | None = None) -> int:
    """One number or name of a field. Raises _ItemError with what is allowed."""
    if text.isascii() and text.isdigit():
        value = int(text[:6])
        if spec.low <= value <= spec.high:
            return value
        instead = {(HOUR.name, 24): "0", (MINUTE.name, 60): "0"}.get((spec.name, value))
        raise _ItemError(f"{spec.name} {text}: {spec.allowed} is allowed", None if item != text else instead)
    if text in spec.names:
        return spec.names[text]
    shown = item or text
    better = closest_item(spec.name, text, list(spec.names))
    message = f"{spec.name} {shown or '(empty)'} cannot be read: {spec.allowed} is allowed{_why(spec, shown)}"
    raise _ItemError(message, shown.replace(text, better) if better and text else None)


def _why(spec: FieldSpec, text: str) -> str:
    """What a form known from elsewhere would need here."""
    if text == "?":
        return "; ? stands only in the day fields"
    if text.startswith("H") and spec is not WEEKDAY:
        return "; to spread load use jitter_seconds instead of H"
    if "~" in text:
        return "; to spread load use jitter_seconds instead of a random range"
    if spec is DAY and "W" in text:
        return "; of the W forms only LW (the last working day) is known"
    if spec is DAY and "L" in text:
        return "; L stands alone, for the last day of the month"
    if spec is WEEKDAY and text == "L":
        return "; for the last Friday of a month write 5L"
    return ""


def _nth(item: str) -> tuple[tuple[int, int], ...]:
    """The weekdays and their number in the month, of an item such as 5#2 or MON-FRI#1."""
    body, _, number = item.partition("#")
    if not (number.isascii() and number.isdigit() and 1 <= int(number[:3]) <= 5):
        raise _ItemError(f"day-of-week {item}: after # comes 1–5, which one of the month")
    low, dash, high = body.partition("-")
    first = _value(WEEKDAY, low, item)
    last = _value(WEEKDAY, high, item) if dash else first
    last = 7 if high == "SUN" and first else last
    if last < first:
        raise _backwards(WEEKDAY, f"{item}/", first, last)
    return tuple((weekday % 7, int(number)) for weekday in range(first, last + 1))


def values_of(spec: FieldSpec, text: str) -> list[int]:
    """The values a valid field names, in order; Sunday as 0, special items (L, 5#2) left out."""
    bits = read_field(spec.name, text).bits
    if spec is WEEKDAY:
        bits = (bits | bits >> 7) & 127
    return [value for value in range(spec.high + 1) if bits >> value & 1]


def days_are_and(day: str, weekday: str) -> bool:
    """Whether a day must match both day fields: Debian cron's rule (entry.c, DOM_STAR and DOW_STAR)."""
    return day[0] in "*?" or weekday[0] in "*?"


@lru_cache(maxsize=4096)
def day_pattern(day: str, month: str, weekday: str) -> DayPattern | None:
    """The days three fields name together; None when one is wrong or there is no such day. Equal fields share one."""
    days, months, weekdays = (
        read_field(spec.name, text) for spec, text in ((DAY, day), (MONTH, month), (WEEKDAY, weekday))
    )
    if days.wrong or months.wrong or weekdays.wrong:
        return None
    pattern = DayPattern(
        DayFields(
            days=days.bits >> 1,
            months=months.bits >> 1,
            weekdays=(weekdays.bits | weekdays.bits >> 7) & 127,
            last_day=days.last,
            last_working_day=days.last_working,
            nth_weekdays=weekdays.nth,
            last_weekdays=weekdays.last_weekdays,
            both=days_are_and(day, weekday),
        )
    )
    return pattern if pattern.ever_matches() else None


def _never(day: str, month: str, weekday: str, days: FieldValues, months: FieldValues) -> str:
    """Why no date matches: the impossible date by name, where the date alone says it."""
    names = [name for number, name in enumerate(MONTH_NAMES, 1) if months.bits >> number & 1]
    if weekday in ("*", "?") and days.bits:
        first = (days.bits & -days.bits).bit_length() - 1
        return f"{first} {' or '.join(names)} never comes"
    return f"no date matches day-of-month {day}, month {month} and day-of-week {weekday} together"
