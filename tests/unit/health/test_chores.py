"""When a chore falls due."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest

from services.health.duty import Chore
from shared.domain.health import Band, band


def nothing(_now: datetime) -> None:
    """A chore for tests of when, not of what."""


DAILY = Chore("cleanup", nothing, daily_at=time(2, 0))
OFTEN = Chore("monitor", nothing, every=timedelta(minutes=5))


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2025, 10, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("last", "now", "due"),
    [
        (None, at(12, 1), True),  # never done: at once
        (at(11, 2), at(12, 1, 59), False),
        (at(11, 2), at(12, 2), True),
        (at(12, 2), at(12, 23), False),
        (at(12, 2), at(13, 1, 59), False),
        (at(10, 2), at(12, 1), True),  # yesterday's was missed: made up for once
        (at(12, 1), at(12, 2), True),  # made up for late yesterday's, today's still comes
        (at(12, 2, 1), at(12, 2), False),  # the clock was set back a little right after it: once is enough
        (at(12, 0), at(11, 2), False),
        (at(28, 2), at(12, 1), True),  # noted while the clock was weeks ahead
    ],
)
def test_a_daily_chore(last: datetime | None, now: datetime, due: bool) -> None:
    assert DAILY.due(last, now) is due


@pytest.mark.parametrize(
    ("last", "due"),
    [
        (None, True),
        (at(12, 1, 55), True),
        (at(12, 1, 56), False),
        (at(12, 2, 1), False),
        (at(12, 3), True),  # noted while the clock was an hour ahead: no silence for an hour
    ],
)
def test_a_frequent_chore(last: datetime | None, due: bool) -> None:
    assert OFTEN.due(last, at(12, 2)) is due


@pytest.mark.parametrize(
    ("successes", "failures", "expected"),
    [
        (0, 0, None),
        (1, 0, Band.HEALTHY),
        (96, 4, Band.HEALTHY),
        (95, 5, Band.INVESTIGATE),
        (80, 20, Band.INVESTIGATE),
        (79, 21, Band.CRITICAL),
        (0, 1, Band.CRITICAL),
    ],
)
def test_the_bands_of_the_reference(successes: int, failures: int, expected: Band | None) -> None:
    assert band(successes, failures) is expected
