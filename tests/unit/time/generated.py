"""Random expressions, zones and starts for the tests of time: every syntax cronsim also reads.

Seeded by the caller, so that a failure can be repeated.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

from shared.domain.recurrence import Recurrence, next_after
from shared.domain.recurrence.tzdb import zone_names
from shared.domain.recurrence.zone import clock

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
FIRST = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp())
LAST = int(datetime(2040, 1, 1, tzinfo=UTC).timestamp())


def _item(random: Random, low: int, high: int, names: tuple[str, ...] = ()) -> str:
    """One item of a field's list: a value, name, range, or any of them with a step."""

    def written(value: int) -> str:
        if names and value - low < len(names) and random.random() < 0.3:
            name = names[value - low]
            return name if random.random() < 0.5 else name.lower()
        return str(value)

    first = random.randint(low, high)
    form = random.random()
    if form < 0.45:
        return written(first)
    if form < 0.55:
        return f"{written(first)}/{random.randint(1, high)}"
    if form < 0.65:
        return f"*/{random.randint(1, high)}"
    last = random.randint(first, high)
    span = f"{written(first)}-{written(last)}"
    return span if form < 0.85 else f"{span}/{random.randint(1, 12)}"


def _field(random: Random, low: int, high: int, star: float, names: tuple[str, ...] = ()) -> str:
    if random.random() < star:
        return "*"
    items = [_item(random, low, high, names) for _ in range(random.choice((1, 1, 1, 2, 3)))]
    return ",".join(items)


def _day(random: Random) -> str:
    text = _field(random, 1, 31, star=0.5)
    form = random.random()
    if form < 0.06:
        return "L"
    if form < 0.08:
        return "LW"
    return f"{text},L" if form < 0.1 and text != "*" else text


def _weekday(random: Random) -> str:
    form = random.random()
    weekday = random.choice((*"01234567", *WEEKDAYS))
    if form < 0.06:
        return f"{weekday}#{random.randint(1, 5)}"
    if form < 0.1:
        return f"{random.randint(0, 7)}L"
    text = _field(random, 0, 7, star=0.6, names=WEEKDAYS)
    return f"{text},{weekday}#{random.randint(1, 5)}" if form < 0.12 and text != "*" else text


def expression(random: Random) -> str:
    """An expression; night hours, where clocks change, come more often. It may name a date that never comes."""
    minute = _field(random, 0, 59, star=0.12)
    hour = str(random.randint(0, 4)) if random.random() < 0.3 else _field(random, 0, 23, star=0.15)
    if random.random() < 0.15:
        minute = random.choice(("0", "30", "15,45", "0,30"))
    month = _field(random, 1, 12, star=0.75, names=MONTHS)
    if random.random() < 0.4:
        return f"{minute} {hour} * * *"
    return f"{minute} {hour} {_day(random)} {month} {_weekday(random)}"


def zones() -> list[str]:
    """Every IANA zone, in order."""
    return sorted(zone_names())


def transitions(zone: str) -> list[int]:
    """The instants, in seconds, at which a zone's offset changes from 2000 to 2040."""
    return [instant for instant in clock(zone).starts if FIRST <= instant < LAST]


def start_near(random: Random, transition: int) -> datetime:
    """An instant within a few hours or days of a transition, often on a round minute or at its very edge."""
    spread = random.choice((0, 1, 60, 1800, 3600, 7200, 14_400, 86_400, 3 * 86_400))
    second = transition + (random.randint(-spread, spread) if spread else random.choice((-1, 0, 1)))
    if random.random() < 0.5:
        second -= second % 60
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second)


def start_anywhere(random: Random) -> datetime:
    """Any instant from 2000 to 2040."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=random.randrange(FIRST, LAST))


def following(recurrence: Recurrence, instant: datetime) -> datetime:
    """The next occurrence, of a recurrence that has one."""
    found = next_after(recurrence, instant)
    if found is None:
        raise AssertionError(f"no occurrence of {recurrence} after {instant}")
    return found
