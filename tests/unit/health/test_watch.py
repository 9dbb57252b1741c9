"""When a consumer counts as stuck."""

from __future__ import annotations

from services.health.watch import StuckJudge
from shared.kafka.lag import Standing


def standing(committed: int, end: int = 100, partition: int = 0) -> Standing:
    return Standing("runs.results", partition, committed, 0, end)


def test_behind_without_progress_for_too_long_is_stuck() -> None:
    judge = StuckJudge(30)
    assert judge.stuck([standing(5)], 0, excused=False) == []
    assert judge.stuck([standing(5)], 30, excused=False) == []
    assert judge.stuck([standing(5)], 31, excused=False) == [standing(5)]


def test_progress_and_having_nothing_to_do_both_begin_the_count_anew() -> None:
    judge = StuckJudge(30)
    judge.stuck([standing(5), standing(100, partition=1)], 0, excused=False)
    judge.stuck([standing(6), standing(100, partition=1)], 29, excused=False)
    assert judge.stuck([standing(6), standing(100, 101, partition=1)], 50, excused=False) == []


def test_one_partition_that_never_moves_is_not_excused_by_the_others() -> None:
    judge = StuckJudge(30)
    for second in range(0, 32, 2):
        found = judge.stuck([standing(second), standing(7, partition=1)], second, excused=False)
    assert [one.partition for one in found] == []
    assert judge.stuck([standing(40), standing(7, partition=1)], 33, excused=False) == [standing(7, partition=1)]


def test_waiting_for_the_database_is_no_fault_of_the_consumer() -> None:
    judge = StuckJudge(30)
    judge.stuck([standing(5)], 0, excused=True)
    assert judge.stuck([standing(5)], 100, excused=True) == []
    assert judge.stuck([standing(5)], 120, excused=False) == []
    assert judge.stuck([standing(5)], 131, excused=False) == [standing(5)]


def test_lag_counts_from_the_beginning_where_nothing_was_committed() -> None:
    assert Standing("t", 0, -1, 40, 100).lag == 60
    assert Standing("t", 0, 30, 40, 100).lag == 60
    assert Standing("t", 0, 100, 40, 100).lag == 0
