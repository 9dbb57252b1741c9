"""How runs end: by retry, cancellation, time limit; and that no type delays another. Hostile runs: test_hostile.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from shared.events.types import RunCancelled, RunFailed, RunStarted, RunSucceeded
from tests.integration.worker.bench_of_runs import Runs
from tests.waiting import eventually


@pytest.fixture
def ready(runs: Runs) -> Runs:
    """A worker that serves the plug-ins."""
    runs.worker(worker_memory_limit_mb="1024")
    return runs


def test_retries_follow_the_kind_of_error(ready: Runs) -> None:
    jobs = {how: ready.due("fail", {"how": how}, max_attempts=3) for how in ("permanent", "later", "unforeseen")}
    ended = {how: ready.ended(job) for how, job in jobs.items()}
    assert all(isinstance(one, RunFailed) for one in ended.values())
    assert (ended["permanent"].will_retry, ended["permanent"].result) == (False, {"why": "never"})
    wait = (ended["later"].next_attempt_at - ended["later"].finished_at).total_seconds()
    assert wait == pytest.approx(90, abs=1)
    assert ended["unforeseen"].will_retry is True
    assert ended["unforeseen"].error == "RuntimeError: something unforeseen"
    last = ready.ended(ready.due("fail", {"how": "later"}, max_attempts=3, attempt=3))
    assert last.will_retry is False
    # What is given up lies on runs.dead, with the reason and the original message.
    dead = eventually(lambda: ready.read("runs.dead") if len(ready.read("runs.dead")) == 2 else None, 20)
    reasons = {dict(one.headers())["ce_jobid"].decode(): dict(one.headers())["dead_reason"].decode() for one in dead}
    assert reasons[str(jobs["permanent"])] == "given up after attempt 1: error: this cannot work"
    assert all(b'"task_type":"fail"' in one.value() for one in dead)


def test_a_cancel_reaches_a_running_attempt_within_a_second(ready: Runs, tmp_path: Path) -> None:
    waiting = ready.due("wait", {"seconds": 600})
    computing = ready.due("compute", {"seconds": 600})
    for job in (waiting, computing):
        ready.started(job)
    asked = datetime.now(UTC)
    for job in (waiting, computing):
        ready.cancel(job)
    for job in (waiting, computing):
        ended = ready.ended(job, 3)
        assert isinstance(ended, RunCancelled)
        assert ended.finished_at - asked < timedelta(seconds=1)
        assert ended.reason == "cancelled_by_user"
        assert ended.worker == "worker-0"
    eventually(lambda: all(claim["ended_at"] for claim in ready.claims().values()))


def test_a_request_to_stop_that_comes_before_the_claims_answer_is_kept(ready: Runs) -> None:
    """The api saw the claim and asked; the worker, whose PostgreSQL answers late, has nothing running yet."""
    running = ready.due("wait", {"seconds": 600})
    ready.started(running)
    late = {801: "wait", 802: "compute"}
    for job in (*late, running):
        ready.cancel(job)
    assert isinstance(ready.ended(running, 3), RunCancelled), "and the requests before it have been read"
    for job, task_type in late.items():
        ready.due(task_type, {"seconds": 600}, job_id=job)
    for job in late:
        assert isinstance(ready.ended(job, 5), RunCancelled)


def test_a_handler_that_ignores_its_cancellation_is_ended_all_the_same(ready: Runs, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    process = ready.due("hostile", {"how": "ignore_cancel", "mark": str(mark)})
    coroutine = ready.due("stubborn", {"seconds": 600})
    eventually(mark.exists)
    ready.started(coroutine)
    pid = int(mark.read_text())
    for job in (process, coroutine):
        ready.cancel(job)
    for job in (process, coroutine):
        assert isinstance(ready.ended(job, 6), RunCancelled)
    assert not psutil.pid_exists(pid)
    assert isinstance(ready.ended(ready.due("wait")), RunSucceeded)


def test_time_limits_hold_for_coroutines_and_processes(ready: Runs) -> None:
    late = [
        ready.due("wait", {"seconds": 600}, timeout_seconds=1, max_attempts=2),
        ready.due("stubborn", {"seconds": 600}, timeout_seconds=1, max_attempts=2),
        ready.due("compute", {"seconds": 600}, timeout_seconds=1, max_attempts=2),
    ]
    for job in late:
        ended = ready.ended(job, 10)
        assert (ended.reason, ended.will_retry) == ("timeout", True)
        assert ended.error == "the run took longer than 1 s"


def test_short_runs_are_not_taken_for_lost_when_they_end_just_then(ready: Runs) -> None:
    jobs = [ready.due("compute") for _ in range(300)]
    for job in jobs:
        ended = ready.ended(job, 60)
        assert isinstance(ended, RunSucceeded), ended


def test_one_slow_type_never_delays_another(ready: Runs) -> None:
    slow = [ready.due("compute", {"seconds": 600}) for _ in range(2)]
    queued = [ready.due("compute", {"seconds": 0}) for _ in range(50)]
    for job in slow:
        ready.started(job)
    quick = [ready.due("wait") for _ in range(20)]
    for job in quick:
        assert isinstance(ready.ended(job, 5), RunSucceeded)
    assert not any(ready.of(job, RunStarted) for job in queued), "more was started than there are slots"
    assert ready.committed("compute") == 0
    for job in slow:
        ready.cancel(job)
    for job in queued:
        assert isinstance(ready.ended(job, 30), RunSucceeded)
