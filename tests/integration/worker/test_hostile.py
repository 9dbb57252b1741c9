"""What handlers may do to a worker: crash, exit, leak, fork, shout, lie. It survives, and each end says why."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psutil
import pytest

from shared.events.types import RunFailed, RunSucceeded
from tests.integration.worker.bench_of_runs import Runs
from tests.waiting import eventually

ANYWHERE = {
    "exit": ("crashed", "the handler called exit (3)"),
    "base_exception": ("error", "Odd: odd"),
    "interrupt": ("error", "KeyboardInterrupt"),
    "odd_words": ("error", "RuntimeError: cannot read ?"),
    "no_words": ("error", "Mute: a Mute that cannot be shown (RuntimeError)"),
    "odd_reason": ("?" * 100, "no"),
    "large_failure": ("error", "no (the result has 3000011 bytes"),
    "no_json_failure": ("error", "no (the result is no JSON"),
    "large": ("error", "the result has 1000011 bytes, 262144 are allowed"),
    "wrong": ("error", "the handler returned str, not an object"),
    "no_json": ("error", "the result is no JSON"),
    "no_text": ("error", "the result is no JSON"),
}
AS_A_COROUTINE = {
    "hard_exit": ("crashed", "the handler called exit (7)"),
    "hard_exit_of_a_thread": ("crashed", "the handler called exit (7)"),
}
IN_A_PROCESS = {
    "hard_exit": ("crashed", "ended with exit code 7"),
    "kill_parent_group": ("crashed", "was killed by signal 9 (Killed)"),
    "segfault": ("crashed", "was killed by signal 11 (Segmentation fault)"),
    "leak": ("crashed", "needed more memory than it may have"),
    "close_everything": ("crashed", "ended with exit code 1"),
    "false_answer": ("crashed", "the child process sent no outcome"),
}


@pytest.fixture
def ready(runs: Runs) -> Runs:
    """A worker that serves the plug-ins."""
    runs.worker(worker_memory_limit_mb="1024")
    return runs


def test_what_a_process_does_ends_its_own_attempt_alone(ready: Runs) -> None:
    expected = ANYWHERE | IN_A_PROCESS
    jobs = {how: ready.due("hostile", {"how": how}) for how in expected}
    beside = ready.due("wait", {"seconds": 0.1})
    assert isinstance(ready.ended(beside), RunSucceeded)
    for how, job in jobs.items():
        _assert_failed(ready.ended(job, 60), how, expected[how])
    _assert_unharmed(ready)


def test_what_a_coroutine_does_ends_its_own_attempt_alone(ready: Runs) -> None:
    waiting = ready.due("wait", {"seconds": 3})
    ready.started(waiting)
    expected = ANYWHERE | AS_A_COROUTINE
    jobs = {how: ready.due("hostile_coroutine", {"how": how}) for how in expected}
    fine = {how: ready.due("hostile_coroutine", {"how": how}) for how in ("exit_beside", "stop_loop")}
    for how, job in jobs.items():
        _assert_failed(ready.ended(job), how, expected[how])
    for how, job in fine.items():
        assert isinstance(ready.ended(job), RunSucceeded), how
    assert isinstance(ready.ended(waiting), RunSucceeded), "the others on the loop go on"
    _assert_unharmed(ready)


def test_what_a_model_of_parameters_does_ends_its_own_attempt_alone(ready: Runs) -> None:
    jobs = [ready.due("odd_parameters", {"how": how}, max_attempts=2) for how in ("exit", "raise")]
    beside = ready.due("wait")
    assert isinstance(ready.ended(beside), RunSucceeded)
    exits, raises = (ready.ended(job) for job in jobs)
    assert (exits.reason, exits.error) == ("crashed", "the handler called exit (5)")
    assert (raises.reason, raises.error) == ("error", "LookupError: odd")
    log = ready.workers[0].text()
    assert "A task plug-in's parameters have no JSON Schema" in log
    assert "A task plug-in cannot be imported" in log
    assert "unschemed" not in {name for (name,) in ready.query("SELECT name FROM task_types")}
    _assert_unharmed(ready)


def test_copies_of_the_worker_that_a_coroutine_forks_do_nothing_in_its_name(ready: Runs, tmp_path: Path) -> None:
    beside = [ready.due("wait", {"seconds": 1, "mark": str(tmp_path / "beside")}) for _ in range(20)]
    forks = [ready.due("hostile_coroutine", {"how": "fork", "mark": str(tmp_path / "copies")}) for _ in range(3)]
    for job in forks:
        ended = ready.ended(job)
        assert isinstance(ended, RunSucceeded)
        assert ended.result == {"codes": [0, 0]}
    for job in beside:
        assert isinstance(ready.ended(job), RunSucceeded)
    assert not (tmp_path / "copies").exists()
    assert len((tmp_path / "beside").read_text().split("\n")) == len(beside) + 1, "each began once"
    for job in (*beside, *forks):
        assert len(ready.of(job, (RunSucceeded, RunFailed))) == 1
    _assert_unharmed(ready)


def test_a_gigabyte_of_output_and_forgotten_threads_harm_nobody(ready: Runs) -> None:
    for how in ("print", "threads"):
        assert isinstance(ready.ended(ready.due("hostile", {"how": how}), 60), RunSucceeded), how
    _assert_unharmed(ready)


@pytest.mark.parametrize(("how", "processes"), [("fork", 2), ("bomb", 40)])
def test_nothing_that_a_run_has_started_outlives_it(ready: Runs, tmp_path: Path, how: str, processes: int) -> None:
    mark = tmp_path / "pids"
    ended = ready.ended(ready.due("hostile", {"how": how, "mark": str(mark)}), 30)
    assert isinstance(ended, RunSucceeded if how == "fork" else RunFailed)
    left = [int(pid) for pid in mark.read_text().split()]
    assert len(left) == processes
    eventually(lambda: not [pid for pid in left if _lives(pid)], what="children of a run are gone with it")
    _assert_unharmed(ready)


def test_more_files_than_an_event_can_list_are_refused(ready: Runs) -> None:
    fine = ready.due("hostile", {"how": "many_files"})
    many = {"task_type": "hostile", "task_parameters": {"how": "many_files"}}
    cases = {
        ready.due("hostile", {"how": "too_many_files"}, max_attempts=3): "a run may leave 1000 files",
        ready.due("batch", {"operations": [many] * 4}, max_attempts=3): "does not fit into a message",
    }
    assert isinstance(ready.ended(fine, 30), RunSucceeded)
    for job, words in cases.items():
        ended = ready.ended(job, 60)
        assert isinstance(ended, RunFailed)
        assert words in ended.error
        assert ended.will_retry is False
    _assert_unharmed(ready)


def test_a_file_that_is_saved_again_is_the_later_one(ready: Runs) -> None:
    ended = ready.ended(ready.due("hostile", {"how": "same_file"}))
    assert [(one.name, one.size) for one in ended.artifacts] == [("report.txt", 7)]


def test_half_an_answer_holds_nobody_past_the_time_limit(ready: Runs) -> None:
    ended = ready.ended(ready.due("hostile", {"how": "write_everywhere"}, timeout_seconds=2), 10)
    assert (ended.reason, ended.error) == ("timeout", "the run took longer than 2 s")
    _assert_unharmed(ready)


def test_files_of_a_killed_run_are_removed_and_those_of_a_killed_worker_by_the_next(
    ready: Runs, tmp_path: Path
) -> None:
    mark = tmp_path / "folders"
    assert isinstance(ready.ended(ready.due("hostile", {"how": "litter", "mark": str(mark)})), RunFailed)
    folder = Path(mark.read_text().strip())
    eventually(lambda: not folder.parent.exists(), 5, "the run's folder is gone")
    of_worker = folder.parent.parent
    assert of_worker.name.startswith("commandcenter-worker-")
    worker = ready.workers[0]
    worker.kill()
    assert of_worker.exists()
    worker.start().wait_ready()
    assert not of_worker.exists()
    worker.stop()


def test_the_fork_server_can_be_killed_too(ready: Runs) -> None:
    running = ready.due("compute", {"seconds": 600}, max_attempts=2)
    ready.started(running)
    ended = ready.ended(ready.due("hostile", {"how": "kill_server"}), 10)
    assert ended.reason == "crashed"
    assert (ready.ended(running, 10).reason, ready.ended(running).will_retry) == ("crashed", True)
    _assert_unharmed(ready)


def test_threads_of_a_coroutine_do_not_keep_a_stopped_worker_alive(ready: Runs) -> None:
    assert isinstance(ready.ended(ready.due("hostile_coroutine", {"how": "thread"})), RunSucceeded)
    assert ready.workers[0].stop(10) == 0


def _assert_failed(ended: Any, how: str, expected: tuple[str, str]) -> None:
    assert isinstance(ended, RunFailed), how
    assert ended.reason == expected[0], (how, ended.reason[:200], ended.error[:200])
    assert expected[1] in ended.error, (how, ended.error[:200])
    assert len(ended.error) <= 2_000


def _assert_unharmed(runs: Runs) -> None:
    for task_type in ("compute", "wait"):
        assert isinstance(runs.ended(runs.due(task_type)), RunSucceeded)
    eventually(lambda: all(claim["ended_at"] for claim in runs.claims().values()), 5, "every claim is marked ended")
    worker = runs.workers[0]
    assert worker.get("/livez")[0] == 200
    assert psutil.Process(worker.pid).memory_info().rss < 400 << 20


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE and os.getpgid(pid) >= 0
    except (psutil.NoSuchProcess, ProcessLookupError):
        return False
