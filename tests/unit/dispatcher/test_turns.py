"""Weighted turns over projects."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from services.dispatcher.turns import AT_A_TURN, Turns

Projects = list[tuple[int, int]]
projects = st.lists(st.tuples(st.integers(1, 500), st.integers(1, 100)), max_size=60, unique_by=lambda pair: pair[0])


def _line(due: Projects) -> Turns:
    turns = Turns()
    turns.replace(due)
    return turns


def test_shares_follow_the_weights() -> None:
    assert dict(_line([(1, 1), (2, 3)]).next(400)) == {1: 100, 2: 300}


def test_with_many_projects_a_batch_takes_several_of_each_by_weight() -> None:
    turns = _line([(project, 1 + project % 3) for project in range(1000)])
    batch = turns.next(2000)
    assert sum(share for _, share in batch) == 2000
    assert all(share == AT_A_TURN * (1 + project % 3) for project, share in batch[:-1])


def test_nobody_is_left_out_however_many_there_are_and_however_often_it_is_asked_who_has_something_due() -> None:
    due = [(project, 1) for project in range(1000)]
    turns = _line(due)
    served: Counter[int] = Counter()
    for _ in range(1000 // 6 + 1):
        turns.replace(due)
        served.update(dict(turns.next(6 * AT_A_TURN)))
    assert set(served) == set(range(1000))
    assert max(served.values()) - min(served.values()) <= AT_A_TURN


@given(projects, projects, st.integers(1, 5000), st.booleans())
def test_who_has_something_due_only_now_is_served_first(
    old: Projects, fresh: Projects, batch: int, all_asked: bool
) -> None:
    turns = _line(old)
    turns.next(batch)
    newcomers = [pair for pair in fresh if pair[0] not in dict(old)]
    if all_asked:
        turns.replace([*old, *newcomers])
    else:
        turns.add([*newcomers, *old[:3]])
    first = [project for project, _ in turns.next(batch)]
    some = min(len(first), len(newcomers))
    assert set(first[:some]) <= {project for project, _ in newcomers} or len(first) == len(turns)


@given(projects, st.integers(1, 5000))
def test_every_project_comes_round_within_one_round(due: Projects, batch: int) -> None:
    turns = _line(due)
    reached: set[int] = set()
    rounds = -(-AT_A_TURN * sum(weight for _, weight in due) // batch) + 1
    for _ in range(rounds):
        shares = turns.next(batch)
        assert sum(share for _, share in shares) <= batch
        assert all(share > 0 for _, share in shares)
        assert len({project for project, _ in shares}) == len(shares)
        reached |= {project for project, _ in shares}
    assert reached == {project for project, _ in due}


@given(projects, st.data())
def test_dry_projects_leave_and_the_others_go_on(due: Projects, data: st.DataObject) -> None:
    turns = _line(due)
    turns.next(7)
    dry = set(data.draw(st.lists(st.sampled_from([project for project, _ in due])))) if due else set()
    turns.drop(dry)
    assert len(turns) == len(due) - len(dry)
    reached: set[int] = set()
    for _ in range(AT_A_TURN * sum(weight for _, weight in due) + 1):
        reached |= {project for project, _ in turns.next(7)}
    assert reached == {project for project, _ in due} - dry
