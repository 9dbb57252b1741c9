"""The floor is never above a timer that waits, whatever looks, moves and notifications overlap."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.dispatcher.floor import Floor, Known

START = datetime(2026, 1, 1, tzinfo=UTC)
AT = [START + timedelta(seconds=second) for second in range(100)]


class Timers(RuleBasedStateMachine):
    """Some timers, two threads that look, and notifications that arrive some time after the change they tell of."""

    def __init__(self) -> None:
        super().__init__()
        self.floor = Floor()
        self.timers = dict.fromkeys(range(4), 50)
        self.under_way: list[tuple[Known, datetime | None]] = []
        self.untold = 0

    @rule(number=st.integers(0, 3), by=st.integers(1, 20))
    def dispatch(self, number: int, by: int) -> None:
        """The dispatcher moves a timer on, and tells nobody."""
        self.timers[number] = min(99, self.timers[number] + by)

    @rule(number=st.integers(0, 4), to=st.integers(0, 99))
    def edit(self, number: int, to: int) -> None:
        """An api instance moves a timer anywhere, or stores a new one."""
        self.timers[number] = to
        self.untold += 1

    @precondition(lambda self: self.untold)
    @rule()
    def notification(self) -> None:
        """It has heard of one change, or of several."""
        self.untold = 0
        self.floor.forget()

    @rule(whole=st.booleans())
    def begin_look(self, *, whole: bool) -> None:
        """A statement reads what is committed now."""
        known = self.floor.known(whole=whole)
        seen = [AT[at] for at in self.timers.values() if known.at is None or AT[at] >= known.at]
        self.under_way.append((known, min(seen, default=None)))

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 9))
    def end_look(self, which: int) -> None:
        """Its answer arrives."""
        known, earliest = self.under_way.pop(which % len(self.under_way))
        self.floor.looked(known, earliest)

    @invariant()
    def nothing_waits_below(self) -> None:
        """Where everybody has told what they did."""
        at = self.floor.known().at
        assert self.untold or at is None or at <= AT[min(self.timers.values())]


TestTimers = Timers.TestCase
TestTimers.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)


def test_it_rises_with_each_look() -> None:
    floor = Floor()
    for at in (AT[3], AT[5], AT[5], AT[9]):
        floor.looked(floor.known(), at)
        assert floor.known().at == at


def test_a_look_at_everything_finds_what_nobody_told_of() -> None:
    floor = Floor()
    floor.looked(floor.known(), AT[50])
    high = floor.known()
    assert floor.looked(floor.known(whole=True), AT[10])
    assert not floor.looked(high, AT[60])
    assert floor.known().at == AT[10]
    assert not floor.looked(floor.known(whole=True), AT[10]), "known already"


def test_nothing_found_says_nothing() -> None:
    floor = Floor()
    floor.looked(floor.known(), AT[50])
    floor.looked(floor.known(), None)
    assert floor.known().at == AT[50]
