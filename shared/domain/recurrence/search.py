"""The occurrences of a recurrence, as aware UTC datetimes, inside its window.

Called by the dispatcher (what is next), by preview and conflict detection (which are coming) and by catch-up (which
were missed). All are nominal: jitter delays a start, never an occurrence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from math import floor

from shared.domain.recurrence.model import Recurrence
from shared.domain.recurrence.policies import Frequency

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def next_after(recurrence: Recurrence, instant: datetime) -> datetime | None:
    """The first occurrence strictly after an instant (aware); None when there is none inside the window.

    A pattern's own gaps are no limit: 29 February on a Monday is found 40 years on. Beyond 2199 nothing is searched.
    """
    if instant.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    plan = recurrence._plan
    if plan is None:
        return _once(recurrence, instant)
    second = floor(instant.timestamp())
    if second < recurrence._first_second:
        second = recurrence._first_second - 1
    found = plan.after(second)
    if found is None or found > recurrence._last_second:
        return None
    return _EPOCH + timedelta(seconds=found)


def _once(recurrence: Recurrence, instant: datetime) -> datetime | None:
    start = recurrence.start_time
    return start if start is not None and start > instant else None


def last_until(recurrence: Recurrence, instant: datetime) -> datetime | None:
    """The last occurrence at or before an instant (aware); None when there was none inside the window."""
    plan = recurrence._plan
    if plan is None:
        start = recurrence.start_time
        return start if start is not None and start <= instant else None
    second = min(floor(instant.timestamp()), recurrence._last_second)
    found = plan.at_or_before(second)
    if found is None or found < recurrence._first_second:
        return None
    return _EPOCH + timedelta(seconds=found)


def count_between(recurrence: Recurrence, after: datetime, until: datetime) -> int:
    """How many occurrences lie strictly after one instant and not after another; exact, without walking them."""
    plan = recurrence._plan
    if plan is None:
        start = recurrence.start_time
        return int(start is not None and after < start <= until)
    first = max(floor(after.timestamp()), recurrence._first_second - 1)
    last = min(floor(until.timestamp()), recurrence._last_second)
    return plan.count(first, last) if last > first else 0


def occurrences(recurrence: Recurrence, start: datetime, end: datetime) -> Iterator[datetime]:
    """The occurrences from start to end, both included, in order and one at a time."""
    found = next_after(recurrence, start - timedelta(microseconds=1))
    while found is not None and found <= end:
        yield found
        found = next_after(recurrence, found)


def next_after_many(pairs: Iterable[tuple[Recurrence, datetime]]) -> list[datetime | None]:
    """`next_after` of many pairs, in their order; pairs that differ only in jitter are evaluated once."""
    known: dict[object, datetime | None] = {}
    results = []
    for recurrence, instant in pairs:
        # Equal expressions in equal zones share one plan object, so its identity and the window say "equal" cheaply.
        plan = recurrence._plan
        key = (plan or recurrence, recurrence._first_second, recurrence._last_second, instant)
        if key not in known:
            known[key] = next_after(recurrence, instant)
        results.append(known[key])
    return results


def affected(recurrence: Recurrence, stored_next: datetime | None, since: datetime, now: datetime) -> datetime | None:
    """The next occurrence to store after an update of the time zone database.

    `since` is the later of the last claimed occurrence and the instant at which the schedule was last created, edited
    or enabled. An occurrence that is already due stays: it was promised under the old rules. One that the new rules
    put between `since` and `now` is returned, though past: catch-up decides about it.
    """
    if stored_next is not None and stored_next <= now:
        return stored_next
    return next_after(recurrence, since)


def follows_zone(recurrence: Recurrence) -> bool:
    """Whether a change of its zone's rules can move its occurrences."""
    return recurrence.frequency not in (Frequency.ONCE, Frequency.INTERVAL) and recurrence.timezone != "UTC"
