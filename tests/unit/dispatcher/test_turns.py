"""Weighted turns over projects."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from services.dispatcher.turns import Turns

projects = st.lists(st.tuples(st.integers(1, 500), st.integers(1, 100)), max_size=60, unique_by=lambda pair: pair[0])


def test_shares_follow_the_weights() -> None:
    assert dict(Turns([(1, 1), (2, 3)]).next(400)) == {1: 100, 2: 300}


def test_nobody_is_left_out_however_many_there_are() -> None:
    turns = Turns([(project, 1 + project % 3) for project in range(1000)])
    served: Counter[int] = Counter()
    for _ in range(40):
        batch = turns.next(50)
        assert sum(share for _, share in batch) <= 50
        served.update(dict(batch))
    assert set(served) == set(range(1000))


@given(projects, st.integers(1, 5000))
def test_every_project_comes_round_within_one_round(ring: list[tuple[int, int]], batch: int) -> None:
    turns = Turns(ring)
    reached: set[int] = set()
    rounds = -(-sum(weight for _, weight in ring) // batch) + 1
    for _ in range(rounds):
        shares = turns.next(batch)
        assert all(share > 0 for _, share in shares)
        assert len({project for project, _ in shares}) == len(shares)
        reached |= {project for project, _ in shares}
    assert reached == {project for project, _ in ring}


@given(projects, st.data())
def test_dry_projects_leave_and_the_others_go_on(ring: list[tuple[int, int]], data: st.DataObject) -> None:
    turns = Turns(ring)
    turns.next(7)
    dry = set(data.draw(st.lists(st.sampled_from([project for project, _ in ring])))) if ring else set()
    turns.drop(dry)
    assert len(turns) == len(ring) - len(dry)
    reached: set[int] = set()
    for _ in range(sum(weight for _, weight in ring) + 1):
        reached |= {project for project, _ in turns.next(7)}
    assert reached == {project for project, _ in ring} - dry
