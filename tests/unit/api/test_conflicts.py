"""Conflicts: the fast bits against a walk over every occurrence."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.conflicts import MOST_REPORTED, Candidates, coincidences
from shared.domain.recurrence import Recurrence, next_after, occurrences
from shared.domain.recurrence.minutes import minute_bits

# Starts around changes of the clock, and elsewhere.
STARTS = st.sampled_from(
    [
        datetime(2026, 3, 6, 23, 17, tzinfo=UTC),
        datetime(2026, 4, 22, 11, 3, tzinfo=UTC),  # Cairo skips midnight
        datetime(2026, 9, 30, 1, 59, tzinfo=UTC),  # Lord Howe skips half an hour
        datetime(2026, 10, 24, 5, 0, tzinfo=UTC),
        datetime(2026, 11, 1, 0, 0, tzinfo=UTC),
        datetime(2027, 1, 15, 12, 34, tzinfo=UTC),
    ]
)
ZONES = st.sampled_from(
    ["UTC", "America/New_York", "Europe/London", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Kathmandu"]
)
EXPRESSIONS = st.sampled_from(
    [
        "*/7 * * * *",
        "30 1 * * *",
        "15 2 * * *",
        "0 0 * * *",
        "5 */3 * * 1-5",
        "0 9-17 * * 1",
        "59 23 L * *",
        "0 1,2,3 * * 0",
    ]
)
CRON = st.builds(
    lambda expression, zone, gap, overlap: Recurrence.build(
        frequency="cron", cron_expression=expression, timezone=zone, dst_gap=gap, dst_overlap=overlap
    ),
    EXPRESSIONS,
    ZONES,
    st.sampled_from(["shift", "skip"]),
    st.sampled_from(["first", "last", "both"]),
)
INTERVAL: st.SearchStrategy[Recurrence] = st.builds(
    lambda seconds, ago: Recurrence.build(
        frequency="interval", interval_seconds=seconds, anchor=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=ago)
    ),
    st.integers(1, 100_000),
    st.integers(0, 90_000),
)
ANY = CRON | INTERVAL
WALKED = CRON | INTERVAL.filter(lambda one: (one.interval_seconds or 0) >= 90)  # a week of seconds is a long walk
WINDOW_ENDS = st.none() | st.integers(-300_000, 700_000).map(lambda seconds: timedelta(seconds=seconds))


@settings(max_examples=120, deadline=None)
@given(recurrence=ANY, start=STARTS)
def test_bits_are_the_minutes_of_the_occurrences(recurrence: Recurrence, start: datetime) -> None:
    minutes = 3 * 1440
    walked = 0
    for occurrence in occurrences(recurrence, start, start + timedelta(minutes=minutes) - timedelta(microseconds=1)):
        walked |= 1 << int((occurrence - start).total_seconds() // 60)
    assert minute_bits(recurrence, start, minutes) == walked


def others(recurrence: Recurrence, *schedule_ids: int) -> Candidates:
    """Stored schedules with this timing; 7 and 8 unless told."""
    start, end, created = (
        None if at is None else at.timestamp() for at in (recurrence.start_time, recurrence.end_time, recurrence.anchor)
    )
    ids = schedule_ids or (7, 8)
    return Candidates(
        recurrence.frequency.value,
        recurrence.timezone,
        recurrence.dst_gap.value,
        recurrence.dst_overlap.value,
        ids,
        [(recurrence.cron_expression, recurrence.interval_seconds, start, end, created)] * len(ids),
    )


@settings(max_examples=60, deadline=None)
@given(one=CRON, other=CRON, start=STARTS)
def test_coincidences_are_pairs_within_a_minute(one: Recurrence, other: Recurrence, start: datetime) -> None:
    end = start + timedelta(days=7) - timedelta(microseconds=1)
    theirs = list(occurrences(other, start, end))
    pairs = [
        mine
        for mine in occurrences(one, start, end)
        if any(abs(mine - their) <= timedelta(minutes=1) for their in theirs)
    ]
    found = coincidences(one, [others(other)], start)
    assert [(each.first_at, each.count) for each in found] == ([(pairs[0], len(pairs))] * 2 if pairs else [])


@settings(max_examples=100, deadline=None)
@given(data=st.data(), one=WALKED, other=WALKED, start=STARTS, since=WINDOW_ENDS, until=WINDOW_ENDS)
def test_coincidences_are_counted_by_whole_minutes(
    data: st.DataObject,
    one: Recurrence,
    other: Recurrence,
    start: datetime,
    since: timedelta | None,
    until: timedelta | None,
) -> None:
    """Against a walk over every occurrence: expressions, intervals, single runs, and windows that cut the week."""
    if since is not None and until is not None and since > until:
        since, until = until, since
    if data.draw(st.booleans()):
        begins, ends = (None if side is None else start + side for side in (since, until))
        other = replace(other, start_time=begins, end_time=ends)
    elif since is not None:
        other = Recurrence.build(frequency="once", start_time=start + since)
    end = start + timedelta(days=7) - timedelta(microseconds=1)

    def minutes(recurrence: Recurrence) -> set[int]:
        return {int((found - start).total_seconds() // 60) for found in occurrences(recurrence, start, end)}

    theirs = minutes(other)
    shared = sorted(minute for minute in minutes(one) if theirs & {minute - 1, minute, minute + 1})
    found = coincidences(one, [others(other)], start + timedelta(seconds=data.draw(st.integers(0, 59))))
    assert [each.count for each in found] == ([len(shared)] * 2 if shared else [])
    for each in found:
        assert int((each.first_at - start).total_seconds() // 60) == shared[0]


def test_a_window_that_is_over_conflicts_with_nothing() -> None:
    over = Recurrence.build(frequency="hourly", end_time=datetime(2026, 1, 1, tzinfo=UTC))
    hourly = Recurrence.build(frequency="hourly")
    now = datetime(2026, 6, 1, tzinfo=UTC)
    assert coincidences(over, [others(hourly)], now) == []
    assert coincidences(hourly, [others(over)], now) == []


def test_an_answer_names_a_bounded_number_the_most_frequent_first() -> None:
    now = datetime(2026, 6, 1, tzinfo=UTC)
    hourly, daily = Recurrence.build(frequency="hourly"), Recurrence.build(frequency="daily")
    many = [
        others(daily, *range(1000, 1200)),
        others(hourly, 1, 2),
    ]
    found = coincidences(hourly, many, now)
    assert [one.schedule_id for one in found[:3]] == [1, 2, 1000]
    assert len(found) == MOST_REPORTED
    assert found[0].count == 168
    assert found[0].first_at == next_after(hourly, now - timedelta(microseconds=1))


@pytest.mark.parametrize("seconds", [1, 30, 60])
def test_a_short_interval_meets_everything(seconds: int) -> None:
    now = datetime(2026, 6, 1, 0, 0, 30, tzinfo=UTC)
    every = Recurrence.build(frequency="interval", interval_seconds=seconds, anchor=now)
    hourly = Recurrence.build(frequency="hourly")
    assert coincidences(hourly, [others(every)], now)[0].count >= 167
