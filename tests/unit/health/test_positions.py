"""No record is skipped unseen: a hole in the offsets is read again once before it is believed."""

from __future__ import annotations

from services.health.positions import Positions

P = ("commandcenter.runs.results", 3)


def test_the_first_record_says_where_a_partition_stands() -> None:
    assert Positions().accept(P, 4711) == (True, None)


def test_a_hole_is_read_again_and_what_was_missing_is_taken() -> None:
    positions = Positions()
    positions.accept(P, 10)
    assert positions.accept(P, 13) == (False, 11)
    assert positions.accept(P, 14) == (False, None)  # left over in the buffer from before the seek
    assert [positions.accept(P, offset) for offset in (11, 12, 13, 14)] == [(True, None)] * 4


def test_the_same_hole_twice_is_real() -> None:
    positions = Positions()
    positions.accept(P, 10)
    positions.accept(P, 13)
    assert positions.accept(P, 13) == (True, None)
    assert positions.accept(P, 14) == (True, None)


def test_a_repeat_is_taken_and_holes_of_a_compacted_topic_are_real() -> None:
    positions = Positions(holes_allowed_in=["commandcenter.schedules"])
    compacted = ("commandcenter.schedules", 0)
    assert [positions.accept(compacted, offset) for offset in (1, 9, 30, 30)] == [(True, None)] * 4


def test_what_could_not_be_committed_comes_again_unless_newer_is_there() -> None:
    positions = Positions()
    other = (P[0], 4)
    positions.recorded(P, 10)
    positions.recorded(other, 5)
    offsets = positions.take_committable()
    assert offsets == {P: 11, other: 6}
    positions.recorded(P, 12)
    positions.not_committed(offsets)
    assert positions.take_committable() == {P: 13, other: 6}
    assert positions.take_committable() == {}


def test_after_a_division_of_the_group_every_partition_begins_anew() -> None:
    positions = Positions()
    positions.accept(P, 10)
    positions.forget()
    assert positions.accept(P, 300) == (True, None)
