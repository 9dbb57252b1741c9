"""Workers killed, stopped, doubled and fed with rubbish: every attempt starts at most once, and everything ends."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import orjson
import psutil
import pytest

from shared.events.types import RunFailed, RunStarted, RunSucceeded
from tests.integration.worker.bench_of_runs import Runs
from tests.waiting import eventually


def test_a_killed_worker_serves_again_at_once_and_gives_up_its_dead_claims(runs: Runs, tmp_path: Path) -> None:
    mark = tmp_path / "started"
    worker = runs.worker()
    open_ones = [runs.due("wait", {"seconds": 600, "mark": str(mark)}), runs.due("compute", {"seconds": 600})]
    for job in open_ones:
        runs.started(job)
    children = psutil.Process(worker.pid).children(recursive=True)
    assert children
    worker.kill()
    later = [runs.due("wait", {"mark": str(mark)}) for _ in range(20)]
    began = time.monotonic()
    worker.start()
    for job in later:
        assert isinstance(runs.ended(job, 15), RunSucceeded)
    assert time.monotonic() - began < 15
    # The dispatcher's rescue finds the dead claims without waiting for the lease of 20 s.
    now = datetime.now(UTC)
    claims = runs.claims()
    assert all(claims[(job, 1)]["lease_until"] <= now for job in open_ones)
    assert all(len(runs.of(job, RunStarted)) == 1 for job in open_ones), "redelivered, and not started again"
    eventually(lambda: runs.committed("wait") == 21, 10, "redelivered records are committed")
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert len(mark.read_text().splitlines()) == 21


def test_a_graceful_stop_finishes_what_runs_and_hands_back_the_rest(runs: Runs) -> None:
    first = runs.worker(worker_grace_seconds="5", worker_concurrency='{"wait": 3}')
    running = [runs.due("wait", {"seconds": 2}) for _ in range(3)]
    queued = [runs.due("wait") for _ in range(10)]
    for job in running:
        runs.started(job)
    assert first.stop() == 0
    for job in running:
        assert isinstance(runs.ended(job, 1), RunSucceeded)
    assert not any(runs.of(job, RunStarted) for job in queued)
    assert set(runs.claims()) == {(job, 1) for job in running}
    first.start()
    for job in queued:
        assert isinstance(runs.ended(job, 15), RunSucceeded)
    eventually(lambda: runs.committed("wait") == 13, 10)


def test_what_outlives_the_grace_ends_as_failed_and_is_tried_again(runs: Runs) -> None:
    worker = runs.worker(worker_grace_seconds="0.5", worker_cancel_grace_seconds="0.5")
    jobs = [runs.due(name, {"seconds": 600}, max_attempts=2) for name in ("wait", "compute", "stubborn")]
    for job in jobs:
        runs.started(job)
    assert worker.stop() == 0
    for job in jobs:
        ended = runs.ended(job, 2)
        assert (ended.reason, ended.will_retry) == ("worker_lost", True)
    assert all(claim["ended_at"] and claim["will_retry"] for claim in runs.claims().values())


def test_a_second_process_under_the_same_name_ends_the_first_not_its_runs(runs: Runs) -> None:
    first = runs.worker(instance="same")
    runs.ended(runs.due("wait"))
    second = runs.worker(instance="same", ready=False)
    eventually(lambda: "another process has joined" in first.text(), 20, "the first is told")
    second.wait_ready()
    assert isinstance(runs.ended(runs.due("wait"), 15), RunSucceeded)


def test_a_worker_that_comes_back_with_a_type_more_serves_it(runs: Runs) -> None:
    first = runs.worker(instance="same", worker_task_types="wait")
    runs.ended(runs.due("wait"))
    assert first.stop() == 0
    runs.worker(instance="same", worker_task_types="compute,wait")
    jobs = [runs.due(name) for name in ("wait", "compute")]
    for job in jobs:
        assert isinstance(runs.ended(job, 25), RunSucceeded)


def test_a_frozen_worker_stops_what_was_declared_lost(runs: Runs) -> None:
    worker = runs.worker(worker_lease_seconds="2", worker_heartbeat_seconds="0.5")
    job = runs.due("wait", {"seconds": 600}, max_attempts=2)
    runs.started(job)
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        # What the dispatcher's rescue does with an expired lease.
        ended = "UPDATE run_claims SET ended_at = clock_timestamp() WHERE lease_until < clock_timestamp() RETURNING 1"
        eventually(lambda: runs.query(ended), 10, "the lease has run out")
    finally:
        os.kill(worker.pid, signal.SIGCONT)
    ended = runs.ended(job, 5)
    assert (ended.reason, ended.will_retry) == ("worker_lost", True), "as the rescue says: the job is not cancelled"
    assert isinstance(runs.ended(runs.due("wait"), 15), RunSucceeded)


def test_a_claim_whose_commit_was_never_answered_does_not_stay_open(runs: Runs) -> None:
    """PostgreSQL had committed it when the connection was cut: the worker never began it, and sees it as taken."""
    runs.worker(worker_lease_seconds="2", worker_heartbeat_seconds="0.5")
    busy = runs.due("wait", {"seconds": 600})  # a worker with something to do renews leases
    runs.started(busy)
    runs.query(
        "INSERT INTO run_claims (job_id, attempt, schedule_id, scheduled_for, worker, begun_at, lease_until)"
        " SELECT 555, 1, 7, now(), worker, now(), now() + interval '2 s' FROM run_claims WHERE job_id = %s",
        (busy,),
    )
    unanswered = runs.due("wait", job_id=555)
    lost = "SELECT job_id FROM run_claims WHERE ended_at IS NULL AND lease_until < clock_timestamp()"
    assert eventually(lambda: runs.query(lost), 6, "the rescue may take it") == [(unanswered,)]
    assert not runs.of(unanswered, RunStarted)


def test_rubbish_is_put_aside_and_the_rest_runs_on(runs: Runs) -> None:
    runs.worker()
    runs.ended(runs.due("wait"))
    runs.query(
        "INSERT INTO jobs (id, schedule_id, schedule_version, project_id, task_type, trigger, status, scheduled_for)"
        " VALUES (77, 5, 1, 1, 'wait', 'schedule', 'queued', now())"
    )
    topic = "runs.due.wait"
    headers = {"ce_specversion": "1.0", "ce_id": "run-due-77-1", "ce_source": "/x", "ce_time": "2026-01-01T00:00:00Z"}
    damaged = headers | {"ce_type": "commandcenter.run.due.v1", "ce_jobid": "77", "ce_scheduleid": "5"}
    runs.send(topic, b"1", {}, b"\xff\xfe no event")
    runs.send(topic, b"1", headers | {"ce_type": "somebody.else"}, b"{}")
    runs.send(topic, b"1", damaged, b'{"job_id": 77, "attempt":')
    good = [runs.due("wait") for _ in range(20)]
    for job in good:
        assert isinstance(runs.ended(job, 15), RunSucceeded)
    failed = runs.ended(77, 10)
    assert isinstance(failed, RunFailed)
    assert (failed.reason, failed.will_retry) == ("dead_lettered", False)
    dead = eventually(lambda: found if len(found := runs.read("runs.dead")) == 3 else None, 10)
    assert {one.value() for one in dead} == {b"\xff\xfe no event", b"{}", b'{"job_id": 77, "attempt":'}
    first = dict(next(one.headers() for one in dead if one.value() == b"{}"))
    assert first["dead_reason"] == b"event type 'somebody.else' is unknown"
    assert (first["dead_topic"], first["ce_type"]) == (b"runs.due.wait", b"somebody.else")
    eventually(lambda: runs.committed("wait") == 24, 10)


def test_a_topic_of_nothing_but_rubbish_is_left_alone(runs: Runs) -> None:
    worker = runs.worker()
    for number in range(120):
        runs.send("runs.due.wait", b"1", {}, b"rubbish %d" % number)
    eventually(lambda: worker.get("/readyz")[0] == 503, 15)
    assert "nearly nothing in runs.due.wait can be read" in orjson.dumps(worker.get("/readyz")[1]).decode()
    assert len(runs.read("runs.dead")) < 60
    assert worker.get("/livez")[0] == 200
    assert isinstance(runs.ended(runs.due("compute"), 10), RunSucceeded), "other types run on"
    assert runs.committed("wait") < 60


@pytest.mark.slow
def test_two_workers_share_and_a_lost_one_is_replaced(runs: Runs, tmp_path: Path) -> None:
    mark = tmp_path / "started"
    first = runs.worker()
    second = runs.worker()
    jobs = [runs.due("wait", {"mark": str(mark)}, schedule_id=number) for number in range(40)]
    for job in jobs:
        assert isinstance(runs.ended(job, 30), RunSucceeded)
    first.kill()  # for good: its partitions move after the session timeout
    later = [runs.due("wait", {"mark": str(mark)}, schedule_id=number) for number in range(40)]
    for job in later:
        assert isinstance(runs.ended(job, 30), RunSucceeded)
    assert len(mark.read_text().splitlines()) == 80
    assert second.get("/readyz")[0] == 200


@pytest.mark.slow
def test_a_handler_that_blocks_the_event_loop_is_named_and_the_worker_starts_anew(runs: Runs, tmp_path: Path) -> None:
    mark = tmp_path / "blocking"
    worker = runs.worker(worker_stuck_seconds="3", worker_grace_seconds="5", worker_cancel_grace_seconds="0.5")
    waiting = runs.due("wait", {"seconds": 600}, max_attempts=2)
    computing = runs.due("compute", {"seconds": 6})
    for job in (waiting, computing):
        runs.started(job)
    blocking = runs.due("hostile_coroutine", {"how": "block", "mark": str(mark)}, max_attempts=3)
    eventually(mark.exists)
    too_late = runs.due("compute")
    eventually(lambda: (too_late, 1) in runs.claims())
    ended = runs.ended(blocking, 10)
    assert (ended.reason, ended.will_retry) == ("crashed", False)
    assert "blocked the worker's event loop at hostile_tasks.py:" in ended.error
    assert worker.wait(25) == 1, "a code by which its supervisor starts it again"
    beside = runs.ended(waiting, 1)
    assert (beside.reason, beside.will_retry) == ("worker_lost", True)
    assert isinstance(runs.ended(computing, 1), RunSucceeded), "a process of its own is not harmed"
    assert (too_late, 1) not in runs.claims(), "what could not be begun is handed back"
    assert f"job {blocking} failed: the handler blocked" in worker.text()
    worker.start().wait_ready()
    assert isinstance(runs.ended(too_late, 15), RunSucceeded)
    eventually(lambda: all(claim["ended_at"] for claim in runs.claims().values()), 10)


@pytest.mark.slow
def test_what_is_handed_back_after_another_worker_passed_over_it_is_run(runs: Runs, tmp_path: Path) -> None:
    mark = tmp_path / "blocking"
    first = runs.worker(worker_stuck_seconds="300", worker_lease_seconds="90", worker_grace_seconds="1")
    runs.due("hostile_coroutine", {"how": "block", "mark": str(mark)})
    eventually(mark.exists)
    job = runs.due("wait")
    eventually(lambda: (job, 1) in runs.claims(), 10, "claimed, and not begun: the loop is blocked")
    os.kill(first.pid, signal.SIGSTOP)
    runs.worker()
    eventually(lambda: runs.committed("wait") == 1, 30, "the other worker has the partition, and found it claimed")
    os.kill(first.pid, signal.SIGCONT)
    assert first.stop(30) == 0
    assert isinstance(runs.ended(job, 15), RunSucceeded)


def test_a_worker_that_was_frozen_as_a_whole_blames_no_handler(runs: Runs) -> None:
    worker = runs.worker(worker_stuck_seconds="2", worker_lease_seconds="60")
    job = runs.due("wait", {"seconds": 6})
    runs.started(job)
    os.kill(worker.pid, signal.SIGSTOP)
    time.sleep(4)  # the frozen time itself
    os.kill(worker.pid, signal.SIGCONT)
    assert isinstance(runs.ended(job, 15), RunSucceeded)
    assert worker.get("/livez")[0] == 200
