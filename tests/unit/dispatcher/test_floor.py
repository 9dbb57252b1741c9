"""The floor is never above a timer that waits, whatever looks, moves and notifications overlap."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.dispatcher.floor import Floor, Look

START = datetime(2026, 1, 1, tzinfo=UTC)
AT = [START + timedelta(seconds=second) for second in range(100)]


def trusted() -> Floor:
    floor = Floor()
    floor.trust(hears=True)
    return floor


class Timers(RuleBasedStateMachine):
    """Some timers, two threads that look, and notifications that arrive some time after the change they tell of."""

    def __init__(self) -> None:
        super().__init__()
        self.floor = trusted()
        self.timers = dict.fromkeys(range(4), 50)
        self.under_way: list[tuple[Look, datetime | None]] = []
        self.untold: list[int] = []

    @rule(number=st.integers(0, 3), by=st.integers(1, 20))
    def dispatch(self, number: int, by: int) -> None:
        """The dispatcher moves a timer on, and tells nobody."""
        self.timers[number] = min(99, self.timers[number] + by)

    @rule(number=st.integers(0, 4), to=st.integers(0, 99))
    def edit(self, number: int, to: int) -> None:
        """An api instance moves a timer anywhere, or stores a new one."""
        self.timers[number] = to
        self.untold.append(to)

    @precondition(lambda self: self.untold)
    @rule(lost=st.booleans())
    def notification(self, *, lost: bool) -> None:
        """It hears of the next change; or its connection was cut, and all it knows is that there may have been some."""
        if lost:
            self.untold.clear()
            self.floor.forget()
        else:
            self.floor.lower(AT[self.untold.pop(0)])

    @rule(whole=st.booleans())
    def begin_look(self, *, whole: bool) -> None:
        """A statement reads what is committed now."""
        look = self.floor.look(whole=whole)
        seen = [AT[at] for at in self.timers.values() if look.at is None or AT[at] >= look.at]
        self.under_way.append((look, min(seen, default=None)))

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 9))
    def end_look(self, which: int) -> None:
        """Its answer arrives."""
        look, earliest = self.under_way.pop(which % len(self.under_way))
        self.floor.looked(look, earliest)

    @invariant()
    def nothing_waits_below(self) -> None:
        """Where everybody has told what they did."""
        at = self.floor.at()
        assert self.untold or at is None or at <= AT[min(self.timers.values())]


TestTimers = Timers.TestCase
TestTimers.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)


def test_it_rises_with_each_look() -> None:
    floor = trusted()
    for at in (AT[3], AT[5], AT[5], AT[9]):
        floor.looked(floor.look(), at)
        assert floor.at() == at


def test_a_look_at_everything_finds_what_nobody_told_of() -> None:
    floor = trusted()
    floor.looked(floor.look(), AT[50])
    high = floor.look()
    assert floor.looked(floor.look(whole=True), AT[10])
    assert not floor.looked(high, AT[60])
    assert floor.at() == AT[10]
    assert not floor.looked(floor.look(whole=True), AT[10]), "known already"


def test_a_look_at_everything_lowers_it_even_if_it_changed_meanwhile() -> None:
    floor = trusted()
    floor.looked(floor.look(), AT[50])
    survey = floor.look(whole=True)
    floor.lower(AT[40])
    high = floor.look()
    assert floor.looked(survey, AT[10])
    floor.looked(high, AT[45])
    assert floor.at() == AT[10]


def test_of_two_looks_at_everything_at_once_the_second_does_not_raise_it() -> None:
    floor = trusted()
    first, second = floor.look(), floor.look(whole=True)
    floor.looked(second, AT[10])
    floor.looked(first, AT[50])
    assert floor.at() == AT[10]


def test_what_is_told_during_a_look_keeps_it_from_raising_the_floor_further_not_from_raising_it() -> None:
    floor = trusted()
    for told, at in ((AT[60], AT[50]), (AT[40], AT[40]), (AT[90], AT[70])):
        floor.forget()
        look = floor.look()
        floor.lower(AT[80])
        floor.lower(told)
        floor.looked(look, max(at, AT[50]))
        assert floor.at() == at


def test_a_look_that_ends_after_a_later_one_does_not_lower_it() -> None:
    floor = trusted()
    floor.looked(floor.look(), AT[40])
    older, newer = floor.look(), floor.look()
    floor.looked(newer, AT[60])
    floor.looked(older, AT[50])
    assert floor.at() == AT[60]


def test_a_look_that_failed_is_not_kept() -> None:
    floor = trusted()
    floor.look()
    assert not floor._under_way


def test_before_notifications_arrive_nothing_is_known() -> None:
    floor = Floor()
    floor.looked(floor.look(), AT[50])
    assert floor.at() is None


def test_while_nothing_is_heard_every_look_begins_at_the_very_first() -> None:
    floor = trusted()
    floor.looked(floor.look(), AT[50])
    floor.trust(hears=False)
    floor.forget()
    floor.looked(floor.look(), AT[50])
    assert floor.at() is None
    floor.trust(hears=True)
    assert floor.at() == AT[50]


def test_nothing_found_says_nothing() -> None:
    floor = trusted()
    floor.looked(floor.look(), AT[50])
    floor.looked(floor.look(), None)
    assert floor.at() == AT[50]
