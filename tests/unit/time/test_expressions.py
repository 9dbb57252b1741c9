"""What an expression's text means: what is accepted, what is refused and with which answer."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.recurrence import Recurrence, RecurrenceError, describe, next_after
from shared.domain.recurrence.expression import Expression
from shared.domain.recurrence.fields import SPECS, parse_fields, read_field
from tests.unit.time import generated


def problems(expression):
    with pytest.raises(RecurrenceError) as refused:
        Recurrence.build(frequency="cron", cron_expression=expression)
    assert all(problem.field == "cron_expression" for problem in refused.value.problems)
    return [(problem.message, problem.suggestion) for problem in refused.value.problems]


REFUSED = [  # expression, part of the message, suggestion
    ("", "the expression is empty, 5 fields are needed", "0 2 * * *"),
    ("   ", "the expression is empty", "0 2 * * *"),
    ("0 2 * *", "0 2 * * has 4 fields, 5 are needed", "0 2 * * *"),
    ("5", "5 has 1 field, 5 are needed", None),
    ("0 2 * * * *", "0 2 * * * * has 6 fields, 5 are needed", None),
    ("*/5 * * * * *", "seconds and years have no field", None),
    ("0 0 12 * * ?", "has 6 fields", "0 12 * * ?"),
    ("0 0 12 ? * MON-FRI *", "has 7 fields", "0 12 ? * MON-FRI"),
    ("0 25 * * *", "hour 25: 0–23", None),
    ("0 24 * * *", "hour 24: 0–23", "0 0 * * *"),
    ("60 * * * *", "minute 60: 0–59", "0 * * * *"),
    ("-1 * * * *", "minute -1 cannot be read: 0–59", None),
    ("0 0 0 * *", "day-of-month 0: 1–31", None),
    ("0 0 32 * *", "day-of-month 32: 1–31", None),
    ("0 0 * 0 *", "month 0: 1–12", None),
    ("0 0 * 13 *", "month 13: 1–12", None),
    ("0 0 * * 8", "day-of-week 8: 0–7", None),
    ("0 0 30 2 *", "30 February never comes", None),
    ("0 0 31 4,6,9,11 *", "31 April or June or September or November never comes", None),
    ("0 0 31 FEB-FEB *", "31 February never comes", None),
    ("0 0 */29 2 MON#2", "no date matches", None),
    ("0 0 * * MOM", "day-of-week MOM cannot be read: 0–7 or SUN–SAT", "0 0 * * MON"),
    ("0 0 * * MONDAY", "day-of-week MONDAY", "0 0 * * MON"),
    ("0 0 * JANUARY *", "month JANUARY", "0 0 * JAN *"),
    ("0 0 * * weekdays", "day-of-week WEEKDAYS", "0 0 * * MON-FRI"),
    ("0 9am * * *", "hour 9AM", "0 9 * * *"),
    ("0 noon * * *", "hour NOON", "0 12 * * *"),
    ("0 0 * * 5-1", "day-of-week 5-1 runs backwards", "0 0 * * 5-6,0-1"),
    ("0 0 * * FRI-MON", "day-of-week FRI-MON runs backwards", "0 0 * * 5-6,0-1"),
    ("0 22-2 * * *", "hour 22-2 runs backwards", "0 22-23,0-2 * * *"),
    ("0 22-2/2 * * *", "hour 22-2/2 runs backwards", None),
    ("50-10 * * * *", "minute 50-10 runs backwards", "50-59,0-10 * * * *"),
    ("*/0 * * * *", "minute */0: a step is a whole number from 1", "* * * * *"),
    ("*/-5 * * * *", "a step is a whole number from 1", None),
    ("*/ * * * *", "a step is a whole number from 1", None),
    ("1.5 * * * *", "minute 1.5 cannot be read", None),
    ("1,,2 * * * *", "minute has an empty item in its list", None),
    (",1 * * * *", "minute has an empty item", None),
    ("1- * * * *", "minute 1- cannot be read", None),
    ("1-2-3 * * * *", "minute 1-2-3 cannot be read", None),
    ("1/2/3 * * * *", "a step is a whole number", None),
    ("** * * * *", "minute ** cannot be read", None),
    ("? * * * *", "? stands only in the day fields", None),
    ("٣ * * * *", "cannot be read", None),
    ("² * * * *", "cannot be read", None),
    ("0 0 L-3 * *", "L stands alone", None),
    ("0 0 15W * *", "only LW", None),
    ("0 0 * * L", "write 5L", None),
    ("0 0 * * 5#0", "after # comes 1–5", None),
    ("0 0 * * 5#6", "after # comes 1–5", None),
    ("0 0 * * #3", "cannot be read", None),
    ("0 0 * * 8#2", "day-of-week 8: 0–7", None),
    ("H H * * *", "use jitter_seconds instead of H", None),
    ("0~30 * * * *", "use jitter_seconds", None),
    ("@reboot", "@reboot is refused", None),
    ("@every 5m", "interval_seconds", None),
    ("@dialy", "@dialy is not one of @hourly", "@daily"),
    ("@fortnightly", "is not one of @hourly", None),
    ("@", "is not one of", None),
    ("daily", "daily has 1 field", "@daily"),
    ("CRON_TZ=Asia/Tokyo 0 2 * * *", "Asia/Tokyo belongs in the field timezone", "0 2 * * *"),
    ("TZ=UTC 0 2 * * *", "UTC belongs in the field timezone", "0 2 * * *"),
    ("0 0 * * " + "1," * 600 + "1", "at most 1,000 characters", None),
]


@pytest.mark.parametrize(("expression", "message", "suggestion"), REFUSED, ids=[case[0][:30] for case in REFUSED])
def test_refused_with_a_lesson(expression, message, suggestion):
    found = problems(expression)
    assert any(message in said for said, _ in found), found
    if suggestion is not None:
        assert suggestion in [better for _, better in found]
        Recurrence.build(frequency="cron", cron_expression=suggestion)


def test_every_wrong_field_is_named_at_once():
    said = [message for message, _ in problems("61 25 32 13 8")]
    assert said == [
        "minute 61: 0–59 is allowed",
        "hour 25: 0–23 is allowed",
        "day-of-month 32: 1–31 is allowed",
        "month 13: 1–12 or JAN–DEC is allowed",
        "day-of-week 8: 0–7 or SUN–SAT is allowed",
    ]


def test_the_suggestion_mends_the_whole_expression():
    assert problems("60 9pm * JANUARY MONDAY")[0][1] == "0 21 * JAN MON"


SAME = [  # two ways to write one thing
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@Daily", "0 0 * * *"),
    ("  0\t2  *  * * ", "0 2 * * *"),
    ("5/15 * * * *", "5-59/15 * * * *"),
    ("0 5/6 * * *", "0 5-23/6 * * *"),
    ("0 0 20/5 * *", "0 0 20,25,30 * *"),
    ("0 0 * 5/3 *", "0 0 * 5,8,11 *"),
    ("5-5/20 * * * *", "5,25,45 * * * *"),  # cronsim's reading; Debian's is 5 alone, croniter's the whole cycle
    ("10-50/20 * * * *", "10,30,50 * * * *"),
    ("*/7 * * * *", "0,7,14,21,28,35,42,49,56 * * * *"),
    ("*/90 * * * *", "0 * * * *"),
    ("0 0 * * MON-FRI", "0 0 * * 1-5"),
    ("0 0 * * mon,Wed,fRI", "0 0 * * 1,3,5"),
    ("0 0 * jan-mar *", "0 0 * 1-3 *"),
    ("0 0 * * 0", "0 0 * * 7"),
    ("0 0 * * sun", "0 0 * * 7"),
    ("0 0 * * MON-SUN", "0 0 * * 1-7"),
    ("0 0 * * SAT-SUN", "0 0 * * 0,6"),
    ("0 0 * * 5-7", "0 0 * * 5,6,0"),
    ("0 0 ? * 1", "0 0 * * 1"),
    ("0 0 1 * ?", "0 0 1 * *"),
    ("0 0 * * L5", "0 0 * * 5L"),
    ("0 0 * * FRIL", "0 0 * * 5L"),
    ("0 0 * * FRI#3", "0 0 * * 5#3"),
    ("0 0 * * 7#1", "0 0 * * 0#1"),
    ("0 0 * * MON-WED#2", "0 0 * * 1#2,2#2,3#2"),
    ("00 02 * * *", "0 2 * * *"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_two_ways_to_write_one_thing(one, other):
    first, second = Expression(one), Expression(other)
    start = 28_000_000
    for _ in range(200):
        assert first.next_minute(start) == second.next_minute(start)
        start = first.next_minute(start) + 1


def test_words_and_spaces_are_kept_out_of_the_stored_form():
    assert parse_fields(" @weekly ").text == "0 0 * * 0"
    assert parse_fields("0 0 * jan  mon").text == "0 0 * JAN MON"


def test_croniter_expands_fields_alike():
    """Where croniter reads otherwise nothing is compared: its weekdays end at 6, and 5-5 means its whole cycle."""
    random = Random(3)
    for _ in range(1500):
        parts = [_plain_field(random, spec.low, min(spec.high, 6) if spec.high == 7 else spec.high) for spec in SPECS]
        expanded, _ = croniter.expand(" ".join(parts))
        for spec, part, theirs in zip(SPECS, parts, expanded, strict=True):
            bits = read_field(spec.name, part).bits
            cycle = 7 if spec.name == "day-of-week" else 60
            ours = {value % cycle for value in range(spec.high + 1) if bits >> value & 1}
            named = range(spec.low, spec.high + 1) if theirs == ["*"] else theirs
            assert ours == {value % cycle for value in named}, part


def _plain_field(random, low, high):
    items = []
    for _ in range(random.randint(1, 3)):
        first, last = sorted(random.sample(range(low, high + 1), 2))
        step = random.randint(1, high)
        forms = [f"{first}", f"{first}-{last}", f"{first}-{last}/{step}"]
        if high != 6:
            forms += [f"*/{step}", f"{first}/{step}"]
        items.append(random.choice(forms))
    return ",".join(items) if random.random() < 0.8 else "*"


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(
    st.one_of(
        st.text(max_size=40),
        st.lists(st.text("0123456789*/-,#?LWHR@~SUNMOFEBJA ", max_size=6), min_size=4, max_size=6).map(" ".join),
    ),
    st.one_of(st.just("UTC"), st.text(max_size=30)),
)
def test_whatever_is_sent_is_read_or_refused(expression, zone):
    try:
        recurrence = Recurrence.build(frequency="cron", cron_expression=expression, timezone=zone)
    except RecurrenceError:
        return
    assert next_after(recurrence, datetime(2025, 1, 1, tzinfo=UTC))
    assert describe(recurrence)


def test_every_expression_can_be_described():
    random = Random(17)
    for _ in range(1000):
        try:
            recurrence = Recurrence.build(frequency="cron", cron_expression=generated.expression(random))
        except RecurrenceError:
            continue
        words = describe(recurrence)
        assert words.endswith("UTC time")
        assert not words.startswith("By the cron expression")


def test_the_longest_wait_is_found():
    leap_monday = Recurrence.build(frequency="cron", cron_expression="0 0 */28 2 MON#5")
    assert next_after(leap_monday, datetime(2044, 3, 1, tzinfo=UTC)) == datetime(2072, 2, 29, tzinfo=UTC)
    leap_day = Recurrence.build(frequency="cron", cron_expression="0 0 29 2 *")
    assert next_after(leap_day, datetime(2096, 3, 1, tzinfo=UTC)) == datetime(2104, 2, 29, tzinfo=UTC)
