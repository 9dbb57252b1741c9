"""What preview says about changes of the clock: moved, merged, doubled and dropped, each with its reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from shared.domain.recurrence import (
    Recurrence,
    RecurrenceError,
    explain_dropped,
    explain_occurrences,
    occurrences,
)
from tests.unit.time import generated

NEW_YORK = "America/New_York"
SPRING = datetime(2025, 3, 8, 12, tzinfo=UTC)
AUTUMN = datetime(2025, 11, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def explained(expression, after, count=3, zone=NEW_YORK, **policies):
    recurrence = Recurrence.build(frequency="cron", cron_expression=expression, timezone=zone, **policies)
    found = explain_occurrences(recurrence, after, count)
    assert len(found) == count
    return [(one.local.strftime("%d %H:%M%z"), one.dst) for one in found]


def dropped(expression, after, zone=NEW_YORK, days=2, **policies):
    recurrence = Recurrence.build(frequency="cron", cron_expression=expression, timezone=zone, **policies)
    return [
        (one.local.strftime("%d %H:%M%z"), one.note) for one in explain_dropped(recurrence, after, after + days * DAY)
    ]


def test_moved_and_merged():
    moved = [("09 03:00-0400", "moved"), ("10 02:30-0400", None), ("11 02:30-0400", None)]
    assert explained("30 2 * * *", SPRING) == moved
    merged = [("09 03:00-0400", "merged"), ("10 02:00-0400", None), ("10 02:30-0400", None)]
    assert explained("0,30 2 * * *", SPRING) == merged
    assert explained("0 2,3 * * *", SPRING)[0] == ("09 03:00-0400", "merged")
    assert explained("0 3 * * *", SPRING)[0] == ("09 03:00-0400", None)
    assert dropped("30 2 * * *", SPRING) == []


def test_the_note_says_what_happened():
    recurrence = Recurrence.build(frequency="daily", timezone="Africa/Cairo")
    [one] = explain_occurrences(recurrence, datetime(2024, 4, 25, 12, tzinfo=UTC), 1)
    assert one.dst == "moved"
    assert one.note == (
        "00:00 on 2024-04-26 does not exist: the clock goes from 00:00 on 2024-04-26 to 01:00 on 2024-04-26, "
        "and it runs then"
    )
    assert one.local.isoformat() == "2024-04-26T01:00:00+03:00"
    assert one.scheduled_for == datetime(2024, 4, 25, 22, tzinfo=UTC)


def test_skip_drops_what_lies_in_the_gap():
    kept = [("10 02:30-0400", None), ("11 02:30-0400", None), ("12 02:30-0400", None)]
    assert explained("30 2 * * *", SPRING, dst_gap="skip") == kept
    [(local, note)] = dropped("30 2 * * *", SPRING, dst_gap="skip")
    assert local == "09 03:30-0400"  # the instant an unchanged clock would have called 02:30
    assert note.startswith("02:30 on 2025-03-09 does not exist")


def test_doubled():
    both = [("02 01:30-0400", "doubled"), ("02 01:30-0500", "doubled"), ("03 01:30-0500", None)]
    assert explained("30 1 * * *", AUTUMN, dst_overlap="both") == both
    assert explained("0 * * * *", AUTUMN + timedelta(hours=17))[:2] == [
        ("02 01:00-0500", "doubled"),
        ("02 02:00-0500", None),
    ]
    assert dropped("30 1 * * *", AUTUMN, dst_overlap="both") == []


def test_the_pass_that_is_left_out_is_told():
    first = [("02 01:30-0400", None), ("03 01:30-0500", None), ("04 01:30-0500", None)]
    assert explained("30 1 * * *", AUTUMN) == first
    assert dropped("30 1 * * *", AUTUMN) == [
        ("02 01:30-0500", "01:30 on 2025-11-02 comes twice: the second time is left out")
    ]
    assert explained("30 1 * * *", AUTUMN, dst_overlap="last")[0] == ("02 01:30-0500", None)
    assert dropped("30 1 * * *", AUTUMN, dst_overlap="last") == [
        ("02 01:30-0400", "01:30 on 2025-11-02 comes twice: the first time is left out")
    ]


def test_elapsed_time_drops_only_what_it_loses():
    assert dropped("*/15 * * * *", SPRING) == []
    assert [local for local, _ in dropped("*/30 2 * * *", SPRING)] == ["09 03:00-0400", "09 03:30-0400"]
    lord_howe = dropped("15 * * * *", datetime(2024, 10, 5, tzinfo=UTC), zone="Australia/Lord_Howe")
    assert [note[:5] for _, note in lord_howe] == ["02:15"]


def test_a_whole_missing_day():
    after = datetime(2011, 12, 29, 12, tzinfo=UTC)
    assert explained("0 0 * * *", after, 2, "Pacific/Apia") == [("31 00:00+1400", "merged"), ("01 00:00+1400", None)]
    assert explained("0 12 * * *", after, 2, "Pacific/Apia") == [("29 12:00-1000", None), ("31 00:00+1400", "moved")]
    skipped = explained("0 12 * * *", after, 2, "Pacific/Apia", dst_gap="skip")
    assert skipped == [("29 12:00-1000", None), ("31 12:00+1400", None)]


def test_an_ended_window_ends_the_list():
    recurrence = Recurrence.build(frequency="daily", end_time=datetime(2025, 11, 3, 12, tzinfo=UTC))
    assert len(explain_occurrences(recurrence, AUTUMN, 10)) == 2
    assert explain_occurrences(recurrence, AUTUMN + 9 * DAY, 10) == []


@pytest.mark.parametrize("frequency", ["once", "interval"])
def test_frequencies_without_local_times_have_no_marks(frequency):
    seconds = 60 if frequency == "interval" else None
    recurrence = Recurrence.build(frequency=frequency, interval_seconds=seconds, start_time=AUTUMN, timezone=NEW_YORK)
    found = explain_occurrences(recurrence, AUTUMN - DAY, 3)
    assert found[0].local.isoformat() == "2025-11-01T08:00:00-04:00"
    assert {one.dst for one in found} == {None}
    assert explain_dropped(recurrence, AUTUMN, AUTUMN + DAY) == []


def test_preview_and_dispatcher_agree():
    """The same instants that the dispatcher would store, one after another, in every zone."""
    random = Random(11)
    for zone in generated.zones():
        try:
            recurrence = Recurrence.build(frequency="cron", cron_expression=generated.expression(random), timezone=zone)
        except RecurrenceError:
            continue
        changes = generated.transitions(zone)
        start = generated.start_near(random, random.choice(changes)) if changes else SPRING
        shown = [one.scheduled_for for one in explain_occurrences(recurrence, start, 8)]
        stored = [generated.following(recurrence, start)]
        while len(stored) < 8:
            stored.append(generated.following(recurrence, stored[-1]))
        assert shown == stored
        assert shown == list(occurrences(recurrence, start + timedelta(microseconds=1), stored[-1]))
        gone = explain_dropped(recurrence, start, stored[-1])
        assert not {one.scheduled_for for one in gone if one.note and "twice" in one.note} & set(stored)
