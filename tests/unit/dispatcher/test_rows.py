"""Outbox rows: whatever message a row holds, the relay reads the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.dispatcher.encoding import decode_row, row_text
from shared.kafka.publisher import Outgoing, as_text

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
plain = st.builds(
    Outgoing,
    st.just("runs.results"),
    texts,
    st.dictionaries(texts, texts, max_size=3).map(lambda headers: list(headers.items())),
    st.none() | texts,
)
raw = st.builds(
    Outgoing,
    st.just("runs.due.sync"),
    st.none() | st.binary(max_size=20),
    st.lists(st.tuples(texts, st.none() | st.binary(max_size=20)), max_size=3),
    st.binary(max_size=40),
)


@given(st.lists(plain | raw, max_size=4))
def test_a_row_gives_back_its_messages(messages: list[Outgoing]) -> None:
    assert decode_row(row_text(messages)) == messages


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_a_failure_is_found_again_by_its_bytes(one: bytes, other: bytes) -> None:
    assert (as_text(one) == as_text(other)) is (one == other)
