"""What holds for every recurrence, judged by a minute-by-minute oracle around changes of the clock of every kind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.recurrence import (
    Recurrence,
    RecurrenceError,
    count_between,
    last_until,
    next_after,
    next_after_many,
    occurrences,
)
from tests.unit.time import brute, generated

CHANGES = [  # zone, a day of the change (UTC), what kind
    ("Australia/Lord_Howe", datetime(2024, 10, 5, tzinfo=UTC)),  # gap of 30 minutes
    ("Australia/Lord_Howe", datetime(2024, 4, 6, tzinfo=UTC)),  # overlap of 30 minutes
    ("America/New_York", datetime(2025, 3, 9, tzinfo=UTC)),  # gap of 1 hour
    ("America/New_York", datetime(2025, 11, 2, tzinfo=UTC)),  # overlap of 1 hour
    ("Europe/London", datetime(2025, 3, 30, tzinfo=UTC)),
    ("Antarctica/Troll", datetime(2024, 3, 31, tzinfo=UTC)),  # gap of 2 hours
    ("Antarctica/Casey", datetime(2020, 10, 3, tzinfo=UTC)),  # gap of 3 hours, one minute past midnight
    ("Pacific/Apia", datetime(2011, 12, 30, tzinfo=UTC)),  # gap of 24 hours: the 30th never was
    ("Pacific/Kwajalein", datetime(1969, 9, 30, tzinfo=UTC)),  # overlap of 23 hours
    ("Pacific/Kwajalein", datetime(1993, 8, 20, tzinfo=UTC)),  # gap of 24 hours
    ("Africa/Cairo", datetime(2024, 4, 25, tzinfo=UTC)),  # no midnight
    ("Africa/Cairo", datetime(2024, 10, 31, tzinfo=UTC)),  # the hour before midnight twice
    ("Asia/Beirut", datetime(2022, 3, 26, tzinfo=UTC)),
    ("America/Havana", datetime(2024, 3, 10, tzinfo=UTC)),
    ("America/Havana", datetime(2024, 11, 3, tzinfo=UTC)),  # midnight twice
    ("America/Sao_Paulo", datetime(2018, 11, 4, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2019, 2, 17, tzinfo=UTC)),
    ("America/Moncton", datetime(2005, 4, 3, tzinfo=UTC)),  # at 00:01
    ("America/Caracas", datetime(2007, 12, 9, tzinfo=UTC)),  # back by half an hour
    ("Asia/Pyongyang", datetime(2018, 5, 4, tzinfo=UTC)),
    ("Asia/Kathmandu", datetime(2025, 1, 1, tzinfo=UTC)),  # no change, an odd offset
]
AROUND = timedelta(days=1, hours=20)


def _dense(random: Random) -> str:
    """An expression that comes up within a few days, mostly at night."""
    minute = random.choice(("0", "30", "*/20", "15,45", "59", "7-40/11", "*", str(random.randint(0, 59))))
    hour = random.choice(("0", "1", "2", "0-3", "23", "1,2,3", "*/2", "*", "0-4/2", str(random.randint(0, 23))))
    day = random.choice(("*", "*", "*", "*/2", "1-30", "L", "30"))
    weekday = random.choice(("*", "*", "*", "0", "SUN,SAT", "5-7", "1/2"))
    return f"{minute} {hour} {day} * {weekday}"


def _case(seed: int, change: tuple[str, datetime], gap: str, overlap: str) -> tuple[Recurrence, list[datetime]]:
    zone, day = change
    expression = _dense(Random(seed))
    begin, end = day - AROUND, day + AROUND
    recurrence = Recurrence.build(
        frequency="cron", cron_expression=expression, timezone=zone, dst_gap=gap, dst_overlap=overlap
    )
    return recurrence, brute.occurrences(expression, zone, begin, end, gap, overlap)


cases = st.builds(
    _case,
    st.integers(0, 10**6),
    st.sampled_from(CHANGES),
    st.sampled_from(["shift", "skip"]),
    st.sampled_from(["first", "last", "both"]),
)
instants = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@settings(max_examples=600, deadline=None, derandomize=True)
@given(cases, st.data())
def test_next_last_and_count_agree_with_the_oracle_under_every_policy(case, data):
    recurrence, expected = case
    if not expected:
        return
    begin, end = expected[0], expected[-1]
    assert list(occurrences(recurrence, begin, end)) == expected
    second = data.draw(st.integers(0, int((end - begin).total_seconds())))
    instant = begin + timedelta(seconds=second)
    until = [one for one in expected if one <= instant]
    assert last_until(recurrence, instant) == until[-1]
    assert count_between(recurrence, begin, instant) == len(until) - 1
    assert count_between(recurrence, instant, end) == len(expected) - len(until)
    later = [one for one in expected if one > instant]
    if later:
        assert next_after(recurrence, instant) == later[0]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, 10**9), instants)
def test_strictly_increasing_and_back_again(seed, start):
    random = Random(seed)
    zone = random.choice(generated.zones())
    try:
        recurrence = Recurrence.build(frequency="cron", cron_expression=generated.expression(random), timezone=zone)
    except RecurrenceError:
        return
    found = [start]
    for _ in range(6):
        found.append(generated.following(recurrence, found[-1]))
    assert all(earlier < later for earlier, later in pairwise(found))
    for earlier, later in pairwise(found[1:]):
        assert last_until(recurrence, later) == later
        assert last_until(recurrence, later - timedelta(microseconds=1)) == earlier
        assert count_between(recurrence, earlier, later) == 1
    assert count_between(recurrence, start, found[-1]) == 6


@settings(max_examples=200, deadline=None, derandomize=True)
@given(cases, st.data())
def test_the_window_is_inclusive_and_changes_nothing_inside(case, data):
    recurrence, expected = case
    if len(expected) < 2:
        return
    first, last = sorted(data.draw(st.lists(st.integers(0, len(expected) - 1), min_size=2, max_size=2)))
    windowed = Recurrence.build(
        frequency="cron",
        cron_expression=recurrence.cron_expression,
        timezone=recurrence.timezone,
        dst_gap=recurrence.dst_gap,
        dst_overlap=recurrence.dst_overlap,
        start_time=expected[first],
        end_time=expected[last],
    )
    far = timedelta(days=4000)
    inside = expected[first : last + 1]
    assert list(occurrences(windowed, expected[0] - far, expected[-1] + far)) == inside
    assert next_after(windowed, expected[last]) is None
    assert last_until(windowed, expected[-1] + far) == expected[last]
    assert last_until(windowed, expected[first] - timedelta(microseconds=1)) is None
    assert count_between(windowed, expected[0] - far, expected[-1] + far) == len(inside)


@pytest.mark.parametrize("seconds", [1, 7, 60, 90, 3600, 86_400, 1_000_003])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(anchor=instants, start=instants)
def test_intervals_are_anchored(seconds, anchor, start):
    recurrence = Recurrence.build(frequency="interval", interval_seconds=seconds, anchor=anchor)
    second = anchor.replace(microsecond=0)
    found = generated.following(recurrence, start)
    assert found > start
    assert (found - second) % timedelta(seconds=seconds) == timedelta()
    earliest = second + timedelta(seconds=seconds)
    assert found == earliest if start < earliest else found - start <= timedelta(seconds=seconds)
    assert last_until(recurrence, found) == found
    assert count_between(recurrence, start, found) == 1


def test_many_at_once_gives_the_same_answers():
    random = Random(5)
    zones = generated.zones()
    pairs = []
    for _ in range(300):
        try:
            text, zone = generated.expression(random), random.choice(zones)
            recurrence = Recurrence.build(frequency="cron", cron_expression=text, timezone=zone)
        except RecurrenceError:
            continue
        pairs += [(recurrence, generated.start_anywhere(random))] * 2
    assert next_after_many(pairs) == [next_after(*pair) for pair in pairs]
