"""The rules of time, done the slow and obvious way: every minute of a few days, one after another.

An oracle for the tests. It shares nothing with the code under test: local times come from ZoneInfo, what a field means
comes from cronsim's parser, and every policy is spelt out on the list of instants that show a local time.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from cronsim import CronSim

MINUTE = timedelta(minutes=1)


@lru_cache(maxsize=64)
def local_times(zone: str, begin: datetime, end: datetime) -> tuple[tuple[datetime, datetime], ...]:
    """Every whole minute from begin to end with what the zone's clock then shows (naive)."""
    info = ZoneInfo(zone)
    minutes = []
    instant = begin
    while instant <= end:
        minutes.append((instant, instant.astimezone(info).replace(tzinfo=None)))
        instant += MINUTE
    return tuple(minutes)


def occurrences(
    expression: str, zone: str, begin: datetime, end: datetime, gap: str = "shift", overlap: str = "first"
) -> list[datetime]:
    """The occurrences from begin to end (whole minutes, UTC), both included. Changes lie over 26 hours inside."""
    names = CronSim(expression, begin)
    shown = local_times(zone, begin - timedelta(hours=26), end + timedelta(hours=26))

    def matches(local: datetime) -> bool:
        in_day = local.minute in names.minutes and local.hour in names.hours
        return in_day and local.month in names.months and names.match_day(local.date())

    minute, hour = expression.split()[:2]
    if minute.startswith("*") or hour.startswith("*"):
        return [instant for instant, local in shown if begin <= instant <= end and matches(local)]

    passes: dict[datetime, list[datetime]] = defaultdict(list)
    for instant, local in shown:
        passes[local].append(instant)
    found: set[datetime] = set()
    for local, instants in passes.items():
        if matches(local):
            found.update({"first": instants[:1], "last": instants[-1:], "both": instants}[overlap])
    for (_, before), (instant, after) in pairwise(shown):
        missing = before + MINUTE
        while gap == "shift" and missing < after:
            if matches(missing) and missing not in passes:
                found.add(instant)
            missing += MINUTE
    return sorted(instant for instant in found if begin <= instant <= end)
