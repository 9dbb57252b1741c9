"""Cases other schedulers' suites hold dear, as next occurrences: Debian cron, robfig/cron, croniter, Quartz, systemd.

Where those schedulers disagree, Debian cron (through cronsim) decides; the table says so.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from shared.domain.recurrence import Recurrence, count_between, next_after, occurrences
from tests.unit.time.generated import following


def at(text, zone="UTC"):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


NEXT = [  # expression, start, next; both in UTC
    # robfig/cron spec_test.go TestNext, where it has five fields
    ("0/15 * * * *", "2012-07-09T14:45", "2012-07-09T15:00"),
    ("0/15 * * * *", "2012-07-09T14:59:59", "2012-07-09T15:00"),
    ("20-35/15 * * * *", "2012-07-09T15:45", "2012-07-09T16:20"),
    ("20-35/15 */2 * * *", "2012-07-09T15:45", "2012-07-09T16:20"),
    ("20-35/15 10-12 * * *", "2012-07-09T15:45", "2012-07-10T10:20"),
    ("20-35/15 1/2 */2 * *", "2012-07-09T23:46", "2012-07-11T01:20"),
    ("20-35/15 * 9-20 * *", "2012-07-09T23:46", "2012-07-10T00:20"),
    ("20-35/15 * 9-20 7 *", "2012-07-09T23:46", "2012-07-10T00:20"),
    ("0 0 9 4-10 *", "2012-07-09T23:35", "2012-08-09T00:00"),
    ("0 0 */5 4,8,10 MON", "2012-07-09T23:35", "2012-08-06T00:00"),
    ("0 0 */5 10 MON", "2012-07-09T23:35", "2012-10-01T00:00"),
    ("0 0 * 2 MON", "2012-07-09T23:35", "2013-02-04T00:00"),
    ("0 0 * 2 MON/2", "2012-07-09T23:35", "2013-02-01T00:00"),
    ("0 0 29 2 *", "2012-07-09T23:35", "2016-02-29T00:00"),
    # robfig/cron TestActivation: the star rule of day-of-month and day-of-week
    ("0 0 1,15 * SUN", "2012-07-14T23:00", "2012-07-15T00:00"),
    ("0 0 1,15 * SUN", "2012-06-14T23:00", "2012-06-15T00:00"),
    ("0 0 1,15 * SUN", "2012-08-01T00:00", "2012-08-05T00:00"),
    ("0 0 * * MON", "2012-07-15T00:00", "2012-07-16T00:00"),
    ("0 0 */10 * SUN", "2012-07-09T00:00", "2012-10-21T00:00"),  # 1, 11, 21, 31 that are Sundays
    ("0 0 1,15 * *", "2012-07-10T00:00", "2012-07-15T00:00"),
    ("0 0 1,15 * */2", "2012-07-02T00:00", "2012-07-15T00:00"),  # the star makes it "and": Sunday the 15th
    ("0 0 13 * 5", "2025-06-01T00:00", "2025-06-06T00:00"),  # the 13th or a Friday
    # croniter test_croniter.py
    ("*/1 * * * *", "2010-01-23T12:18", "2010-01-23T12:19"),
    ("*/5 * * * *", "2010-01-23T12:18", "2010-01-23T12:20"),
    ("0 */3 * * *", "2010-01-24T12:02", "2010-01-24T15:00"),
    ("0 0 */3 * *", "2010-02-22T12:00", "2010-02-25T00:00"),
    ("0 0 */10 * *", "2025-02-21T00:00", "2025-03-01T00:00"),  # croniter 5.0.1 misses it
    ("0 0 31 * *", "2010-01-31T00:00", "2010-03-31T00:00"),
    ("0 0 31 * *", "2010-10-31T00:00", "2010-12-31T00:00"),
    ("0 0 L * *", "2011-01-31T00:00", "2011-02-28T00:00"),
    ("0 0 L * *", "2012-02-01T00:00", "2012-02-29T00:00"),
    ("0 0 L 2 *", "2096-03-01T00:00", "2097-02-28T00:00"),
    ("0 0 LW * *", "2025-05-01T00:00", "2025-05-30T00:00"),
    ("0 0 L,15 * *", "2025-04-15T00:00", "2025-04-30T00:00"),
    ("0 0 * * 5#3", "2025-05-16T00:00", "2025-06-20T00:00"),
    ("0 0 * * 1#1", "2025-01-06T00:00", "2025-02-03T00:00"),
    ("0 0 * * 6#5", "2025-04-01T00:00", "2025-05-31T00:00"),
    ("0 0 * * L5", "2025-05-01T00:00", "2025-05-30T00:00"),
    ("0 0 * * 0L", "2025-05-26T00:00", "2025-06-29T00:00"),
    ("0 0 * * MON,FRI#2", "2025-05-06T00:00", "2025-05-09T00:00"),
    ("0 0 * * sat,sun", "2010-02-25T15:16", "2010-02-27T00:00"),
    ("0 0 * * 7", "2025-05-05T00:00", "2025-05-11T00:00"),
    ("0 9 * * mon-fri", "2025-05-09T09:00", "2025-05-12T09:00"),
    ("59 23 31 12 *", "2025-12-31T23:59", "2026-12-31T23:59"),
    ("*/7 * * * *", "2025-01-01T00:56", "2025-01-01T01:00"),
    ("0-59/1 0-23 1-31 1-12 0-6", "2025-01-01T00:00:01", "2025-01-01T00:01"),
    ("0 12 1-7 * MON", "2025-05-08T00:00", "2025-05-12T12:00"),
    ("15 10 L * *", "2025-02-28T10:15", "2025-03-31T10:15"),
    ("0 0 29 2 MON", "2025-01-01T00:00", "2025-02-03T00:00"),
    ("0 0 1 1 *", "2025-01-01T00:00", "2026-01-01T00:00"),
    ("0 0 29 2 *", "2096-02-29T00:00", "2104-02-29T00:00"),  # 2100 is no leap year
    # systemd calendarspec and Quartz, in five fields
    ("0 0 1 */3 *", "2025-02-01T00:00", "2025-04-01T00:00"),
    ("30 17 15,L * *", "2025-02-15T17:30", "2025-02-28T17:30"),
    ("10,44 14 ? 3 WED", "2025-01-01T00:00", "2025-03-05T14:10"),
    ("0 8-18/2 ? * 1-5", "2025-05-09T18:00", "2025-05-12T08:00"),
]


@pytest.mark.parametrize(("expression", "start", "expected"), NEXT)
def test_next(expression, start, expected):
    recurrence = Recurrence.build(frequency="cron", cron_expression=expression)
    assert next_after(recurrence, at(start)) == at(expected)


NEW_YORK = "America/New_York"
AROUND_CHANGES = [  # expression, zone, start with offset, the following occurrences with theirs
    # Spring forward, 2012-03-11 at 02:00. robfig/cron drops the missing hour's run; Debian cron moves it.
    ("0 * * * *", NEW_YORK, "2012-03-11T00:00-05:00", ["01:00-05:00", "03:00-04:00", "04:00-04:00"]),
    ("30 2 11 3 *", NEW_YORK, "2012-03-11T00:00-05:00", ["03:00-04:00"]),
    ("0,30 2 11 3 *", NEW_YORK, "2012-03-11T00:00-05:00", ["03:00-04:00"]),
    ("0 2,3 11 3 *", NEW_YORK, "2012-03-11T00:00-05:00", ["03:00-04:00"]),
    ("*/20 2,3 * * *", NEW_YORK, "2012-03-11T00:00-05:00", ["03:00-04:00", "03:20-04:00"]),
    ("0 */2 * * *", NEW_YORK, "2012-03-11T00:00-05:00", ["04:00-04:00", "06:00-04:00"]),
    ("30 1 * * *", NEW_YORK, "2025-03-09T00:00-05:00", ["01:30-05:00"]),  # croniter: 00:30 and 02:30
    # Fall back, 2012-11-04 at 02:00: an hourly run each real hour, a fixed one once, the first time.
    ("0 * * * *", NEW_YORK, "2012-11-04T00:00-04:00", ["01:00-04:00", "01:00-05:00", "02:00-05:00"]),
    ("*/30 1 * * *", NEW_YORK, "2012-11-04T00:00-04:00", ["01:00-04:00", "01:30-04:00", "01:00-05:00", "01:30-05:00"]),
    ("0 1 4 11 *", NEW_YORK, "2012-11-04T00:00-04:00", ["01:00-04:00"]),
    ("30 1,2 4 11 *", NEW_YORK, "2012-11-04T00:00-04:00", ["01:30-04:00", "02:30-05:00"]),
    ("30 1 * * *", NEW_YORK, "2012-11-04T01:15-05:00", []),  # inside the second pass: tomorrow
    # The day begins at 01:00, or its midnight comes twice.
    ("0 0 * * *", "Africa/Cairo", "2024-04-25T12:00+02:00", ["01:00+03:00"]),
    ("0 0 * * *", "Asia/Beirut", "2022-03-26T12:00+02:00", ["01:00+03:00"]),
    ("0 0 * * *", "America/Havana", "2024-03-09T12:00-05:00", ["01:00-04:00"]),
    ("0 0 * * *", "America/Havana", "2024-11-02T12:00-04:00", ["00:00-04:00"]),
    ("0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00-03:00", ["01:00-02:00"]),
    ("5 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00-03:00", ["01:00-02:00"]),
    ("0 * * * *", "Australia/Lord_Howe", "2024-10-06T01:00+10:30", ["03:00+11:00", "04:00+11:00"]),
    ("15 2 * * *", "Australia/Lord_Howe", "2024-10-06T01:00+10:30", ["02:30+11:00"]),
    ("45 1 * * *", "Australia/Lord_Howe", "2024-04-07T01:00+11:00", ["01:45+11:00"]),
]


@pytest.mark.parametrize(("expression", "zone", "start", "expected"), AROUND_CHANGES)
def test_around_changes_of_the_clock(expression, zone, start, expected):
    recurrence = Recurrence.build(frequency="cron", cron_expression=expression, timezone=zone)
    instant = datetime.fromisoformat(start)
    for clock in expected:
        instant = following(recurrence, instant)
        assert instant.astimezone(ZoneInfo(zone)).isoformat(timespec="minutes")[11:] == clock
    later = following(recurrence, instant).astimezone(ZoneInfo(zone))
    if not expected:
        assert later.date() > datetime.fromisoformat(start).date()


def test_a_gap_whose_end_is_due_anyway_counts_once():
    recurrence = Recurrence.build(frequency="cron", cron_expression="0 2,3 * * *", timezone=NEW_YORK)
    before, after = datetime(2025, 3, 9, tzinfo=UTC), datetime(2025, 3, 10, tzinfo=UTC)
    assert list(occurrences(recurrence, before, after)) == [datetime(2025, 3, 9, 7, tzinfo=UTC)]
    assert count_between(recurrence, before, after) == 1


def test_daily_never_loses_a_day_anywhere():
    """Every zone, every day of 20 years: one daily run a day, but for the days that never were."""
    for zone in ("Africa/Cairo", "Asia/Beirut", "America/Havana", "America/Sao_Paulo", "Asia/Amman", "Asia/Gaza"):
        info = ZoneInfo(zone)
        recurrence = Recurrence.build(frequency="daily", timezone=zone)
        instant, days = datetime(2005, 1, 1, 12, tzinfo=UTC), []
        for _ in range(7300):
            instant = following(recurrence, instant)
            days.append(instant.astimezone(info).date().toordinal())
        assert days == list(range(days[0], days[0] + 7300)), zone


def test_the_day_samoa_skipped():
    recurrence = Recurrence.build(frequency="daily", timezone="Pacific/Apia")
    apia = ZoneInfo("Pacific/Apia")
    first = following(recurrence, datetime(2011, 12, 29, 0, tzinfo=apia))
    second = following(recurrence, first)
    assert [one.astimezone(apia).isoformat() for one in (first, second)] == [
        "2011-12-31T00:00:00+14:00",
        "2012-01-01T00:00:00+14:00",
    ]


@pytest.mark.parametrize(
    ("frequency", "zone", "start", "expected"),
    [
        ("hourly", "UTC", "2025-10-12T15:30+00:00", "2025-10-12T16:00+00:00"),
        ("hourly", "Asia/Kathmandu", "2025-10-12T15:30+00:00", "2025-10-12T16:15+00:00"),
        ("daily", "UTC", "2025-10-12T15:30+00:00", "2025-10-13T00:00+00:00"),
        ("daily", NEW_YORK, "2025-10-12T15:30+00:00", "2025-10-13T04:00+00:00"),  # the reference's example
        ("weekly", "UTC", "2025-10-12T15:30+00:00", "2025-10-13T00:00+00:00"),
        ("weekly", "UTC", "2025-10-13T00:00+00:00", "2025-10-20T00:00+00:00"),
        ("monthly", "UTC", "2025-10-12T15:30+00:00", "2025-11-01T00:00+00:00"),
        ("monthly", "Asia/Tokyo", "2025-10-12T15:30+00:00", "2025-10-31T15:00+00:00"),
    ],
)
def test_named_frequencies(frequency, zone, start, expected):
    recurrence = Recurrence.build(frequency=frequency, timezone=zone)
    assert next_after(recurrence, datetime.fromisoformat(start)) == datetime.fromisoformat(expected)
