"""Offsets are committed up to the first unfinished record, whatever the order in which records finish."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.worker.incarnation import Incarnation
from shared.kafka.consumer import Progress
from shared.kafka.dead_letters import UnreadableLimit


@given(st.data(), st.lists(st.integers(1, 5), min_size=1, max_size=40))
def test_the_position_is_never_past_unfinished_work(data: st.DataObject, gaps: list[int]) -> None:
    progress, offsets, at = Progress(), [], 0
    for gap in gaps:
        at += gap  # compaction leaves gaps
        offsets.append(at)
        assert progress.hand_out(at)
        assert not progress.hand_out(at), "fetched twice, handed out once"
    finished: set[int] = set()
    for offset in data.draw(st.permutations(offsets)):
        progress.finished(offset)
        progress.finished(offset)  # a second word changes nothing
        progress.finished(offset + 1_000)  # nor does a record of another assignment
        finished.add(offset)
        left = [one for one in offsets if one not in finished]
        expected = left[0] if left else offsets[-1] + 1
        if progress.position is None:
            assert offsets[0] not in finished
        else:
            assert progress.position <= expected
            assert all(one in finished for one in offsets if one < progress.position)
    assert progress.position == offsets[-1] + 1


def test_a_few_unreadable_messages_are_no_reason_to_stop() -> None:
    limit = UnreadableLimit(window=200, least=50)
    assert not any(limit.note(readable=number % 5 != 0) for number in range(10_000))
    stopped = [limit.note(readable=False) for _ in range(200)]
    assert stopped[-1]
    assert not stopped[30]


def test_only_a_process_that_is_surely_gone_is_called_dead() -> None:
    me = Incarnation.current("worker-1")
    assert Incarnation.parse(str(me)) == me
    assert not me.is_surely_dead()
    assert Incarnation(me.instance, me.place, me.pid, "1.00").is_surely_dead(), "the number went to another process"
    assert Incarnation(me.instance, me.place, 4_194_304 + 7, "1.00").is_surely_dead()
    elsewhere = Incarnation(me.instance, "another-host", 4_194_304 + 7, "1.00")
    assert not elsewhere.is_surely_dead(), "cannot be told from here: left to the lease"
    for foreign in ("cancelled:user", "external:key:name#external", "", "a#b/c/d"):
        assert Incarnation.parse(foreign) is None
