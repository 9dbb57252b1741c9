"""The rules a recurrence must keep, each with the answer that teaches it.

Called by `Recurrence` at construction, so that an invalid one cannot exist. Every rule is judged, then all problems
are raised together. Values that passed once (an expression in a zone) are found in a cache, so that building from a
stored row costs microseconds.
"""

from __future__ import annotations

from datetime import MAXYEAR, UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from shared.domain.recurrence.errors import Problem, RecurrenceError
from shared.domain.recurrence.expression import compile_expression
from shared.domain.recurrence.policies import DstGap, DstOverlap, Frequency
from shared.domain.recurrence.suggestions import closest, closest_zone
from shared.domain.recurrence.tzdb import zone_names

if TYPE_CHECKING:
    from shared.domain.recurrence.model import Recurrence

LONGEST_INTERVAL = 10 * 366 * 86_400
"""Seconds: ten years. Longer is a mistake of units."""
LONGEST_JITTER = 86_400
"""Seconds: one day."""

_Word = TypeVar("_Word", Frequency, DstGap, DstOverlap)


def checked(recurrence: Recurrence) -> dict[str, object]:
    """The fields to change to their normal form. Raises RecurrenceError with every problem."""
    problems: list[Problem] = []
    changes: dict[str, object] = {}
    frequency = _word(Frequency, "frequency", recurrence.frequency, changes, problems)
    _word(DstGap, "dst_gap", recurrence.dst_gap, changes, problems)
    _word(DstOverlap, "dst_overlap", recurrence.dst_overlap, changes, problems)
    zone: object = recurrence.timezone
    if not isinstance(zone, str) or zone not in zone_names():
        problems.append(_wrong_zone(zone))
    start = _instant("start_time", recurrence.start_time, changes, problems)
    end = _instant("end_time", recurrence.end_time, changes, problems)
    if start and end and end < start:
        problems.append(Problem("end_time", end.isoformat(), f"end_time is before start_time ({start.isoformat()})"))
    _whole("jitter_seconds", recurrence.jitter_seconds, 0, LONGEST_JITTER, problems)
    _check_expression(frequency, recurrence.cron_expression, problems)
    _check_interval(frequency, recurrence.interval_seconds, problems)
    if frequency is Frequency.ONCE and recurrence.start_time is None:
        problems.append(Problem("start_time", None, "once needs start_time: the instant to run at"))
    if frequency is Frequency.ONCE and start and start.year == MAXYEAR:
        # Nor could a zone's clock or a jitter go on from there: the calendar ends.
        problems.append(Problem("start_time", start.isoformat(), f"once must lie before the year {MAXYEAR}"))
    _settle_anchor(frequency, recurrence.anchor, start, changes, problems)
    if problems:
        raise RecurrenceError(problems)
    return changes


def problem_if_past(recurrence: Recurrence, now: datetime) -> Problem | None:
    """What is wrong with creating a `once` whose instant has passed; asked at creation only."""
    start = recurrence.start_time
    if recurrence.frequency is not Frequency.ONCE or start is None or start > now:
        return None
    return Problem("start_time", start.isoformat(), f"once must lie in the future; it is {now.isoformat()} now")


def _word(
    kind: type[_Word], name: str, value: object, changes: dict[str, object], problems: list[Problem]
) -> _Word | None:
    """The member of an enumeration that a field names."""
    if isinstance(value, kind):
        return value
    allowed = [str(member) for member in kind]
    if not isinstance(value, str) or value not in allowed:
        near = closest(value, allowed, cutoff=0.6) if isinstance(value, str) else None
        problems.append(Problem(name, value, f"{value} is not a {name}: {', '.join(allowed)} are", near))
        return None
    changes[name] = kind(value)
    return kind(value)


def _instant(name: str, value: object, changes: dict[str, object], problems: list[Problem]) -> datetime | None:
    """An aware instant in UTC."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        problems.append(Problem(name, value, f"{name} is an instant such as 2025-11-01T00:00:00Z"))
        return None
    if value.tzinfo is UTC:
        return value
    if value.utcoffset() is None:
        better = value.isoformat() + "Z"
        problems.append(Problem(name, value.isoformat(), f"{name} needs an offset from UTC, or Z", better))
        return None
    changes[name] = value.astimezone(UTC)
    return value.astimezone(UTC)


def _whole(name: str, value: object, low: int, high: int, problems: list[Problem]) -> None:
    """A whole number within bounds; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        problems.append(Problem(name, value, f"{name} is a whole number of seconds, {low:,}–{high:,}"))


def _wrong_zone(name: object) -> Problem:
    near = closest_zone(name[:60], zone_names()) if isinstance(name, str) else None
    return Problem("timezone", name, f"{str(name)[:60] or 'an empty name'} is not an IANA zone", near)


def _check_expression(frequency: Frequency | None, expression: object, problems: list[Problem]) -> None:
    """cron needs a valid expression; no other frequency takes one."""
    field = "cron_expression"
    if expression is None:
        if frequency is Frequency.CRON:
            problems.append(Problem(field, None, "cron needs cron_expression, such as 0 2 * * *"))
        return
    if not isinstance(expression, str):
        problems.append(Problem(field, expression, "a cron expression is a text of 5 fields"))
        return
    if frequency not in (Frequency.CRON, None):
        message = f"{frequency} sets its own times: leave cron_expression out, or make the frequency cron"
        problems.append(Problem(field, expression, message))
    try:
        compile_expression(expression)
    except RecurrenceError as refused:
        problems.extend(refused.problems)


def _check_interval(frequency: Frequency | None, seconds: object, problems: list[Problem]) -> None:
    """interval needs its seconds; no other frequency takes any."""
    field = "interval_seconds"
    if seconds is None:
        if frequency is Frequency.INTERVAL:
            problems.append(Problem(field, None, "interval needs interval_seconds, 1 or more"))
        return
    if frequency not in (Frequency.INTERVAL, None):
        message = f"{frequency} sets its own times: leave interval_seconds out, or make the frequency interval"
        problems.append(Problem(field, seconds, message))
        return
    _whole(field, seconds, 1, LONGEST_INTERVAL, problems)


def _settle_anchor(
    frequency: Frequency | None,
    anchor: object,
    start: datetime | None,
    changes: dict[str, object],
    problems: list[Problem],
) -> None:
    """An interval's anchor is start_time, or the one given (its creation), to the second; others have none."""
    if frequency is not Frequency.INTERVAL:
        if anchor is not None:
            changes["anchor"] = None
        return
    given = start or _instant("anchor", anchor, changes, problems)
    if given is None:
        if anchor is None:
            problems.append(Problem("anchor", None, "interval needs start_time or the instant of its creation"))
        return
    changes["anchor"] = given.replace(microsecond=0)
