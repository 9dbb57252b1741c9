"""Catch-up against walking every missed occurrence, and its bounds after the longest outages."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.catchup import CatchUp, CatchupPolicy, SkipRange, catch_up
from shared.domain.recurrence import Recurrence, RecurrenceError, jitter_delay, next_after, occurrences
from tests.unit.time import generated

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
NOON = datetime(2025, 10, 15, 12, tzinfo=UTC)
GRACE = timedelta(seconds=60)


def walk(recurrence, first_due, now, policy, window, max_jobs):
    """What catch_up promises, by walking every due occurrence."""
    due = list(occurrences(recurrence, first_due, now))
    window = window or GRACE
    fresh = [one for one in due if now - one <= (min(GRACE, window) if policy == "none" else window)]
    if policy == "all":
        run = fresh[:max_jobs]
        skipped = due[: len(due) - len(fresh)]
        following = fresh[max_jobs] if len(fresh) > max_jobs else next_after(recurrence, due[-1])
    else:
        run = fresh[-1:]
        skipped = [one for one in due if one not in run]
        following = next_after(recurrence, due[-1])
    skips = (SkipRange(skipped[0], skipped[-1], len(skipped)),) if skipped else ()
    return CatchUp(tuple(run), skips, following)


def _recurrence(seed):
    random = Random(seed)
    zone = random.choice(("America/New_York", "Africa/Cairo", "Australia/Lord_Howe", "UTC", "Pacific/Apia"))
    form = random.random()
    if form < 0.25:
        seconds = random.choice((30, 60, 611, 3600, 40_000))
        return Recurrence.build(frequency="interval", interval_seconds=seconds, anchor=datetime(2000, 1, 1, tzinfo=UTC))
    if form < 0.5:
        return Recurrence.build(frequency=random.choice(("hourly", "daily", "weekly", "monthly")), timezone=zone)
    policies = {"dst_gap": random.choice(("shift", "skip")), "dst_overlap": random.choice(("first", "last", "both"))}
    return Recurrence.build(frequency="cron", cron_expression=generated.expression(random), timezone=zone, **policies)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**9),
    begin=st.datetimes(datetime(2011, 1, 1), datetime(2026, 1, 1), timezones=st.just(UTC)),
    outage=st.integers(0, 3 * 86_400),
    policy=st.sampled_from(list(CatchupPolicy)),
    window=st.sampled_from([timedelta(), timedelta(seconds=30), HOUR, DAY, 30 * DAY]),
    max_jobs=st.sampled_from([1, 5, 1000]),
)
def test_the_same_as_walking(seed, begin, outage, policy, window, max_jobs):
    try:
        recurrence = _recurrence(seed)
    except RecurrenceError:
        return
    first_due = generated.following(recurrence, begin)
    now = first_due + timedelta(seconds=outage)
    found = catch_up(recurrence, first_due, now, policy, window, max_jobs=max_jobs)
    assert found == walk(recurrence, first_due, now, policy, window, max_jobs)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**9), outage=st.integers(0, 2 * 86_400), jobs=st.integers(1, 40))
def test_claim_after_claim_every_occurrence_is_handled_once(seed, outage, jobs):
    """The dispatcher's loop: while something is due, catch up and store `next`."""
    try:
        recurrence = _recurrence(seed)
    except RecurrenceError:
        return
    first_due = generated.following(recurrence, NOON)
    now = first_due + timedelta(seconds=outage)
    expected = list(occurrences(recurrence, first_due, now))
    due: datetime | None = first_due
    handled = 0
    while due is not None and due <= now:
        found = catch_up(recurrence, due, now, CatchupPolicy.ALL, DAY, max_jobs=jobs)
        handled += len(found.run) + sum(skip.count for skip in found.skips)
        assert found.next is None or found.next > due
        due = found.next
    assert handled == len(expected)


@pytest.mark.parametrize("policy", list(CatchupPolicy))
def test_on_time_runs_under_every_policy(policy):
    daily = Recurrence.build(frequency="daily")
    midnight = datetime(2025, 10, 16, tzinfo=UTC)
    late = timedelta(seconds=3)
    assert catch_up(daily, midnight, midnight + late, policy, DAY) == CatchUp((midnight,), (), midnight + DAY)


def test_none_allows_a_grace():
    daily = Recurrence.build(frequency="daily")
    midnight = datetime(2025, 10, 16, tzinfo=UTC)
    assert catch_up(daily, midnight, midnight + GRACE, CatchupPolicy.NONE, DAY).run == (midnight,)
    late = catch_up(daily, midnight, midnight + GRACE + timedelta(seconds=1), CatchupPolicy.NONE, DAY)
    assert late == CatchUp((), (SkipRange(midnight, midnight, 1),), midnight + DAY)


@pytest.mark.parametrize("policy", list(CatchupPolicy))
def test_a_window_of_nothing_leaves_what_is_on_time(policy):
    minutely = Recurrence.build(frequency="cron", cron_expression="* * * * *")
    on_time = catch_up(minutely, NOON, NOON + timedelta(milliseconds=3), policy, timedelta())
    assert on_time == CatchUp((NOON,), (), NOON + MINUTE)
    late = catch_up(minutely, NOON - HOUR, NOON + timedelta(seconds=30), policy, timedelta())
    assert late == CatchUp((NOON,), (SkipRange(NOON - HOUR, NOON - MINUTE, 60),), NOON + MINUTE)


def test_what_is_older_than_the_window_never_runs():
    weekly = Recurrence.build(frequency="weekly")
    monday = datetime(2025, 10, 13, tzinfo=UTC)
    for policy in CatchupPolicy:
        found = catch_up(weekly, monday, monday + DAY + timedelta(seconds=1), policy, DAY)
        assert found == CatchUp((), (SkipRange(monday, monday, 1),), monday + 7 * DAY)
    assert catch_up(weekly, monday, monday + DAY, CatchupPolicy.LATEST, DAY).run == (monday,)


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_a_minute_schedule_after_a_year(zone):
    """Counted exactly, in milliseconds of processor time (so that a busy machine does not fail it)."""
    minutely = Recurrence.build(frequency="cron", cron_expression="* * * * *", timezone=zone)
    first, now = NOON - 365 * DAY, NOON + timedelta(seconds=30)
    began = time.process_time()
    found = catch_up(minutely, first, now, CatchupPolicy.LATEST, DAY)
    assert time.process_time() - began < 0.05
    assert found == CatchUp((NOON,), (SkipRange(first, NOON - MINUTE, 365 * 1440),), NOON + MINUTE)
    everything = catch_up(minutely, first, now, CatchupPolicy.ALL, DAY)
    assert len(everything.run) == 1000
    assert everything.skips == (SkipRange(first, NOON - DAY, 364 * 1440 + 1),)
    assert everything.next == everything.run[-1] + MINUTE


def test_a_window_that_ended_meanwhile():
    end = NOON - HOUR
    hourly = Recurrence.build(frequency="hourly", end_time=end)
    found = catch_up(hourly, NOON - 3 * HOUR, NOON, CatchupPolicy.ALL, DAY)
    assert found == CatchUp((NOON - 3 * HOUR, NOON - 2 * HOUR, end), (), None)


def test_once():
    once = Recurrence.build(frequency="once", start_time=NOON)
    assert catch_up(once, NOON, NOON + HOUR, CatchupPolicy.LATEST, DAY) == CatchUp((NOON,), (), None)
    assert catch_up(once, NOON, NOON + 2 * DAY, CatchupPolicy.LATEST, DAY).skips == (SkipRange(NOON, NOON, 1),)


def test_an_occurrence_held_back_by_jitter_is_not_yet_due():
    hourly = Recurrence.build(frequency="hourly", jitter_seconds=3000)
    delay = partial(jitter_delay, hourly, 7)
    held = delay(NOON, NOON + HOUR)
    assert held > timedelta(seconds=1)
    early = catch_up(hourly, NOON - 2 * HOUR, NOON + held / 2, CatchupPolicy.ALL, DAY, delay=delay)
    assert early == CatchUp((NOON - 2 * HOUR, NOON - HOUR), (), NOON)
    due = catch_up(hourly, NOON - 2 * HOUR, NOON + held, CatchupPolicy.LATEST, DAY, delay=delay)
    assert due.run == (NOON,)
    on_time = catch_up(hourly, NOON, NOON + held, CatchupPolicy.NONE, DAY, delay=delay)
    assert on_time.run == (NOON,)


def test_a_due_instant_that_the_recurrence_no_longer_names_still_counts():
    """After an update of the time zone database the stored instant may be one that the new rules do not know."""
    daily = Recurrence.build(frequency="daily")
    stored = datetime(2025, 10, 14, 23, tzinfo=UTC)
    found = catch_up(daily, stored, NOON, CatchupPolicy.LATEST, DAY)
    assert found.run == (datetime(2025, 10, 15, tzinfo=UTC),)
    assert found.skips == (SkipRange(stored, stored, 1),)
