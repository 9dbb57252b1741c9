"""The books of what the relay has in hand."""

from __future__ import annotations

from services.dispatcher.encoding import Stored
from services.dispatcher.in_hand import MOST_BYTES, InHand
from shared.kafka.publisher import Outgoing


def _row(messages: int) -> Stored:
    return Stored([Outgoing("runs.due.x", str(number), [], "{}") for number in range(messages)], "")


def test_rows_go_out_in_the_order_of_their_ids_and_none_overtakes_one_about_to_be_committed() -> None:
    books = InHand(1_000)
    books.expect([1])
    books.expect([2])
    books.hand_over([(2, _row(1))])
    assert books.next_handed() is None
    books.hand_over([(1, _row(1))])
    assert [books.next_handed()[0] for _ in range(2)] == [1, 2]  # type: ignore[index]
    assert books.next_handed() is None


def test_a_row_in_hand_is_not_taken_from_the_table() -> None:
    books = InHand(1_000)
    books.expect([1])
    assert books.begin_reading() == [1]
    assert not books.take(1, 5, 10)
    books.forget([1])
    assert books.take(1, 5, 10)
    assert books.messages == 5
    books.settled(5)
    assert (books.messages, books.rows()) == (0, 1)
    books.removed([1])
    assert books.rows() == 0


def test_what_cannot_be_published_yet_still_bounds_what_may_be_claimed() -> None:
    books = InHand(10)
    books.expect([1])
    books.hand_over([(1, _row(10))])
    assert not books.has_room()
    books.forget([1], 10)
    assert (books.messages, books.has_room(), books.table_changed) == (0, False, True)
    assert books.take(1, 10, 10)
    books.note_stored(10, more=False)
    assert not books.has_room()
    books.settled(10)
    assert books.has_room()


def test_large_messages_bound_what_is_in_hand_too() -> None:
    books = InHand(1_000)
    books.note_stored(0, more=False)
    assert books.has_room()
    assert books.take(1, 1, MOST_BYTES)
    assert not books.has_room()
    assert books.is_full()
    books.settled(1)
    assert books.is_full(), "its text is held until it is removed"
    books.removed([1])
    assert books.has_room()
    assert books.take(2, 1, MOST_BYTES)
    books.forget([2], 1)
    assert not books.is_full()
