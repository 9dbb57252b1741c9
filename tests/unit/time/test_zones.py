"""Our table of a zone's offsets is the one ZoneInfo goes by, to the second and to the calendar's end."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest

from shared.domain.recurrence import tzdb_newer, tzdb_source, tzdb_version
from shared.domain.recurrence.posix_rule import rule_changes
from shared.domain.recurrence.tzdb import zone_names
from shared.domain.recurrence.zone import clock
from tests.unit.time.generated import zones

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
END = int(datetime(2199, 12, 30, tzinfo=UTC).timestamp())
PARTS = 4


def _offset(zone: str, second: int) -> int:
    of_zone = clock(zone)
    return of_zone.offsets[bisect_right(of_zone.starts, second) - 1]


@pytest.mark.parametrize("part", range(PARTS))
def test_offsets_are_zoneinfos(part):
    random = Random(part)
    for zone in zones()[part::PARTS]:
        info = ZoneInfo(zone)
        changes = [instant for instant in clock(zone).starts[1:] if 0 <= instant < END]
        near = [instant + step for instant in random.sample(changes, min(40, len(changes))) for step in (-1, 0)]
        for second in [*near, *(random.randrange(END) for _ in range(40))]:
            expected = (EPOCH + timedelta(seconds=second)).astimezone(info).utcoffset()
            assert timedelta(seconds=_offset(zone, second)) == expected, (zone, second)


def test_rules_that_count_days_of_the_year():
    """J60 is 1 March in every year; 59 (from 0) is 29 February in a leap year, 1 March in others."""
    by_month_day = [instant for instant, _ in rule_changes("AAA0BBB,J60/0,J300/0", after=0, last_year=1973)]
    by_number = [instant for instant, _ in rule_changes("AAA0BBB,59/0,300/0", after=0, last_year=1973)]
    assert [(EPOCH + timedelta(seconds=one)).strftime("%m-%d") for one in by_month_day[::2]] == ["03-01"] * 4
    shown = [(EPOCH + timedelta(seconds=one)).strftime("%Y-%m-%d") for one in by_number[::2]]
    assert shown == ["1970-03-01", "1971-03-01", "1972-02-29", "1973-03-01"]


def test_a_rule_that_cannot_be_read_is_refused():
    with pytest.raises(ValueError, match="not a POSIX time zone rule"):
        rule_changes("nonsense!", after=0, last_year=1971)


def test_the_database_says_which_it_is():
    assert tzdb_source() in ("system", "wheel")
    assert tzdb_version()[:2] == "20"
    assert len(zone_names()) > 400
    assert (tzdb_newer() or "9") > tzdb_version()


def test_no_zone_means_this_machines_own():
    assert not zone_names() & {"localtime", "posixrules", "Factory"}
    assert not any(name.startswith(("right/", "posix/")) for name in zone_names())
