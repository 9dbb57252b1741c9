"""The recurrence itself: what each frequency needs, its window, equality, jitter, and a new time zone database."""

from __future__ import annotations

import dataclasses
import pickle
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.recurrence import (
    DstGap,
    DstOverlap,
    Frequency,
    Recurrence,
    RecurrenceError,
    affected,
    count_between,
    describe,
    follows_zone,
    jitter_delay,
    last_until,
    next_after,
    occurrences,
    problem_if_past,
)

NOON = datetime(2025, 10, 15, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def problems(**values):
    with pytest.raises(RecurrenceError) as refused:
        Recurrence.build(**values)
    return {problem.field: problem for problem in refused.value.problems}


REFUSED = [  # values, field, part of the message, suggestion
    ({"frequency": "dialy"}, "frequency", "dialy is not a frequency: once, hourly", "daily"),
    ({"frequency": None}, "frequency", "not a frequency", None),
    ({"frequency": "once"}, "start_time", "once needs start_time", None),
    ({"frequency": "cron"}, "cron_expression", "cron needs cron_expression", None),
    ({"frequency": "cron", "cron_expression": 5}, "cron_expression", "a text of 5 fields", None),
    ({"frequency": "interval", "anchor": NOON}, "interval_seconds", "interval needs interval_seconds", None),
    ({"frequency": "interval", "interval_seconds": 0, "anchor": NOON}, "interval_seconds", "1–316,224,000", None),
    ({"frequency": "interval", "interval_seconds": True, "anchor": NOON}, "interval_seconds", "whole number", None),
    ({"frequency": "interval", "interval_seconds": 1.5, "anchor": NOON}, "interval_seconds", "whole number", None),
    ({"frequency": "interval", "interval_seconds": 60}, "anchor", "start_time or the instant of its creation", None),
    ({"frequency": "daily", "cron_expression": "0 2 * * *"}, "cron_expression", "make the frequency cron", None),
    ({"frequency": "daily", "interval_seconds": 5}, "interval_seconds", "make the frequency interval", None),
    ({"frequency": "cron", "cron_expression": "0 2 * *"}, "cron_expression", "has 4 fields", "0 2 * * *"),
    ({"frequency": "daily", "timezone": "Mars/Olympus"}, "timezone", "Mars/Olympus is not an IANA zone", None),
    ({"frequency": "daily", "timezone": "America/NewYork"}, "timezone", "not an IANA zone", "America/New_York"),
    ({"frequency": "daily", "timezone": "america/new_york"}, "timezone", "not an IANA zone", "America/New_York"),
    ({"frequency": "daily", "timezone": "New York"}, "timezone", "not an IANA zone", "America/New_York"),
    ({"frequency": "daily", "timezone": "PST"}, "timezone", "not an IANA zone", "America/Los_Angeles"),
    ({"frequency": "daily", "timezone": "utc"}, "timezone", "not an IANA zone", "UTC"),
    ({"frequency": "daily", "timezone": "localtime"}, "timezone", "not an IANA zone", None),
    ({"frequency": "daily", "timezone": "../etc/passwd"}, "timezone", "not an IANA zone", None),
    ({"frequency": "daily", "timezone": ""}, "timezone", "an empty name", None),
    ({"frequency": "daily", "timezone": ["UTC"]}, "timezone", "not an IANA zone", None),
    ({"frequency": "daily", "start_time": NOON, "end_time": NOON - DAY}, "end_time", "before start_time", None),
    (
        {"frequency": "daily", "start_time": NOON.replace(tzinfo=None)},
        "start_time",
        "needs an offset",
        "2025-10-15T12:00:00Z",
    ),
    ({"frequency": "daily", "start_time": "tomorrow"}, "start_time", "an instant such as", None),
    ({"frequency": "daily", "dst_gap": "shfit"}, "dst_gap", "shfit is not a dst_gap: shift, skip", "shift"),
    ({"frequency": "daily", "dst_overlap": "booth"}, "dst_overlap", "first, last, both", "both"),
    ({"frequency": "daily", "jitter_seconds": -1}, "jitter_seconds", "0–86,400", None),
]


@pytest.mark.parametrize(("values", "field", "message", "suggestion"), REFUSED)
def test_refused_with_a_lesson(values, field, message, suggestion):
    problem = problems(**values)[field]
    assert message in problem.message
    assert problem.suggestion == suggestion


def test_every_wrong_field_is_named_at_once():
    found = problems(
        frequency="cron", cron_expression="0 25 * * *", timezone="Mars/Olympus", dst_gap="x", jitter_seconds=-5
    )
    assert set(found) == {"cron_expression", "timezone", "dst_gap", "jitter_seconds"}


def test_once_in_the_past_is_asked_at_creation_only():
    once = Recurrence.build(frequency="once", start_time=NOON)
    assert problem_if_past(once, NOON - DAY) is None
    problem = problem_if_past(once, NOON)
    assert problem
    assert "must lie in the future" in problem.message
    assert problem_if_past(Recurrence.build(frequency="daily", start_time=NOON), NOON + DAY) is None


def test_once_is_due_once_to_the_microsecond():
    start = NOON.replace(microsecond=250_000)
    once = Recurrence.build(frequency="once", start_time=start, timezone="Asia/Tokyo")
    assert next_after(once, NOON) == start
    assert next_after(once, start) is None
    assert list(occurrences(once, start, start)) == [start]
    assert last_until(once, start) == start
    assert last_until(once, NOON) is None
    assert (count_between(once, NOON, start), count_between(once, start, start + DAY)) == (1, 0)


def test_an_interval_starts_at_start_time_or_one_interval_after_its_creation():
    created = NOON.replace(microsecond=999_999)
    from_creation = Recurrence.build(frequency="interval", interval_seconds=90, anchor=created)
    assert next_after(from_creation, NOON - DAY) == NOON + timedelta(seconds=90)
    from_start = Recurrence.build(frequency="interval", interval_seconds=90, start_time=created, anchor=NOON - DAY)
    assert from_start.anchor == NOON
    assert list(occurrences(from_start, NOON - DAY, NOON + timedelta(seconds=90))) == [
        NOON,
        NOON + timedelta(seconds=90),
    ]


def test_an_interval_follows_elapsed_time_over_a_change_of_the_clock():
    start = datetime(2025, 3, 9, 0, tzinfo=timezone(timedelta(hours=-5)))
    two_hours = Recurrence.build(
        frequency="interval", interval_seconds=7200, start_time=start, timezone="America/New_York"
    )
    found = list(occurrences(two_hours, start, start + timedelta(hours=6)))
    assert found == [start + timedelta(hours=hours) for hours in (0, 2, 4, 6)]


def test_instants_are_kept_in_utc():
    local = datetime(2025, 10, 15, 8, tzinfo=timezone(timedelta(hours=-4)))
    recurrence = Recurrence.build(frequency="daily", start_time=local)
    assert recurrence.start_time == NOON
    assert recurrence.start_time.tzinfo is UTC


def test_the_window_is_inclusive():
    midnight = datetime(2025, 11, 1, tzinfo=UTC)
    window = Recurrence.build(frequency="daily", start_time=midnight, end_time=midnight + 2 * DAY)
    assert next_after(window, midnight - 300 * DAY) == midnight
    assert next_after(window, midnight + DAY) == midnight + 2 * DAY
    assert next_after(window, midnight + 2 * DAY) is None
    later = Recurrence.build(frequency="daily", start_time=midnight + timedelta(microseconds=1))
    assert next_after(later, midnight - DAY) == midnight + DAY
    earlier = Recurrence.build(frequency="daily", end_time=midnight - timedelta(microseconds=1))
    assert next_after(earlier, midnight - DAY) is None


def test_equal_values_are_equal_whatever_they_were_built_from():
    built = Recurrence.build(frequency="daily", timezone="UTC", anchor=NOON, dst_gap="shift")
    assert built == Recurrence(Frequency.DAILY, dst_gap=DstGap.SHIFT, dst_overlap=DstOverlap.FIRST)
    assert hash(built) == hash(Recurrence(Frequency.DAILY))
    assert built != Recurrence(Frequency.DAILY, jitter_seconds=1)
    assert built.frequency is Frequency.DAILY
    with pytest.raises(dataclasses.FrozenInstanceError):
        built.timezone = "Asia/Tokyo"  # type: ignore[misc]
    assert dataclasses.replace(built, timezone="Asia/Tokyo").timezone == "Asia/Tokyo"
    copy = pickle.loads(pickle.dumps(built))
    assert (copy, next_after(copy, NOON)) == (built, next_after(built, NOON))


def test_an_instant_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="needs a time zone"):
        next_after(Recurrence.build(frequency="daily"), NOON.replace(tzinfo=None))


def test_the_calendars_end_is_the_end():
    daily = Recurrence.build(frequency="daily", timezone="America/New_York")
    assert next_after(daily, datetime(2199, 12, 30, 12, tzinfo=UTC)) == datetime(2199, 12, 31, 5, tzinfo=UTC)
    assert next_after(daily, datetime(2300, 1, 1, tzinfo=UTC)) is None
    assert last_until(daily, datetime(2300, 1, 1, tzinfo=UTC)) == datetime(2199, 12, 31, 5, tzinfo=UTC)
    assert next_after(daily, datetime(1800, 1, 1, tzinfo=UTC)) == datetime(1900, 1, 2, 5, tzinfo=UTC)
    assert last_until(daily, datetime(1800, 1, 1, tzinfo=UTC)) is None
    interval = Recurrence.build(frequency="interval", interval_seconds=86_400, anchor=NOON)
    assert next_after(interval, datetime(9998, 12, 31, tzinfo=UTC)) is not None
    assert next_after(interval, datetime(9999, 12, 31, tzinfo=UTC)) is None


@settings(deadline=None, derandomize=True)
@given(
    st.integers(0, 86_400),
    st.integers(1, 10**12),
    st.datetimes(datetime(2000, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),
    st.integers(1, 10**6),
)
def test_jitter_is_fixed_bounded_and_never_past_the_next(jitter, schedule_id, occurrence, gap):
    recurrence = Recurrence.build(frequency="daily", jitter_seconds=jitter)
    following = occurrence + timedelta(seconds=gap)
    delay = jitter_delay(recurrence, schedule_id, occurrence, following)
    assert timedelta() <= delay <= timedelta(seconds=jitter)
    assert occurrence + delay < following
    assert delay == jitter_delay(recurrence, schedule_id, occurrence, following)
    assert jitter_delay(recurrence, schedule_id, occurrence, None) <= timedelta(seconds=jitter)


def test_jitter_as_long_as_the_wait_still_comes_before_the_next():
    recurrence = Recurrence.build(frequency="daily", jitter_seconds=60)
    following = NOON + timedelta(milliseconds=3)
    delays = {jitter_delay(recurrence, number, NOON, following) for number in range(200)}
    assert delays == {timedelta(milliseconds=number) for number in range(3)}


def test_jitter_spreads_evenly():
    recurrence = Recurrence.build(frequency="daily", jitter_seconds=100)
    seconds = [jitter_delay(recurrence, number, NOON, None).total_seconds() for number in range(10_000)]
    tenths = [sum(low <= second < low + 10 for second in seconds) for low in range(0, 100, 10)]
    assert all(850 < tenth < 1150 for tenth in tenths), tenths
    days = [jitter_delay(recurrence, 1, NOON + number * DAY, None).total_seconds() for number in range(10_000)]
    assert 45 < sum(days) / len(days) < 55


def test_a_new_database_moves_only_what_is_not_yet_due():
    daily = Recurrence.build(frequency="daily", timezone="America/New_York")
    claimed = datetime(2025, 10, 14, 4, tzinfo=UTC)
    right = datetime(2025, 10, 15, 4, tzinfo=UTC)
    wrong = right + timedelta(hours=1)
    assert affected(daily, wrong, claimed, now=right - timedelta(hours=2)) == right
    assert affected(daily, wrong, claimed, now=right + timedelta(minutes=5)) == right  # missed by the change: due now
    assert affected(daily, wrong, claimed, now=wrong) == wrong  # due already under the old rules
    assert affected(daily, None, claimed, now=right) == right
    assert follows_zone(daily)
    assert not follows_zone(Recurrence.build(frequency="daily"))
    assert not follows_zone(Recurrence.build(frequency="once", start_time=NOON, timezone="Asia/Tokyo"))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"frequency": "once", "start_time": NOON}, "Once, at 2025-10-15 12:00:00 UTC"),
        ({"frequency": "hourly"}, "Every hour, at minute 0, UTC time"),
        ({"frequency": "daily", "timezone": "Asia/Tokyo"}, "Every day at 00:00, Asia/Tokyo time"),
        ({"frequency": "weekly"}, "Every week on Monday at 00:00, UTC time"),
        ({"frequency": "monthly"}, "Every month on day 1 at 00:00, UTC time"),
        ({"frequency": "cron", "cron_expression": "0 14 * * *"}, "At 14:00, UTC time"),
        ({"frequency": "cron", "cron_expression": "@daily"}, "At 00:00, UTC time"),
        ({"frequency": "cron", "cron_expression": "*/15 * * * *"}, "Every 15 minutes, UTC time"),
        (
            {"frequency": "cron", "cron_expression": "0 9 * * 1", "timezone": "America/Los_Angeles"},
            "At 09:00, only on Monday, America/Los_Angeles time",
        ),
        (
            {"frequency": "cron", "cron_expression": "0 0 * * FRI#3"},
            "At 00:00, on the third Friday of the month, UTC time",
        ),
        (
            {"frequency": "cron", "cron_expression": "0 0 * * 1,5#2"},
            "At 00:00, on Monday or the second Friday of the month, UTC time",
        ),
        (
            {"frequency": "cron", "cron_expression": "0 0 L,15 * *"},
            "At 00:00, on day 15 or the last day of the month, UTC time",
        ),
        (
            {"frequency": "cron", "cron_expression": "0 0 13 * 5"},
            "At 00:00, on day 13 of the month, and also on Friday, UTC time",
        ),
        (
            {"frequency": "cron", "cron_expression": "0 0 */10 * 1"},
            "At 00:00, on day 1, 11, 21 or 31 of the month, only when it is Monday, UTC time",
        ),
        (
            {"frequency": "cron", "cron_expression": "0 0 1-7 * MON-FRI"},
            "At 00:00, on day 1 to 7 of the month, and also on Monday to Friday, UTC time",
        ),
        ({"frequency": "interval", "interval_seconds": 5400, "anchor": NOON}, "Every 1 hour 30 minutes"),
        ({"frequency": "interval", "interval_seconds": 1, "anchor": NOON}, "Every second"),
        (
            {"frequency": "daily", "start_time": NOON, "end_time": NOON + DAY, "jitter_seconds": 30},
            (
                "Every day at 00:00, UTC time, from 2025-10-15 12:00:00 UTC, until 2025-10-16 12:00:00 UTC, "
                "each delayed by up to 30 seconds"
            ),
        ),
    ],
)
def test_described_in_plain_words(values, words):
    assert describe(Recurrence.build(**values)) == words
