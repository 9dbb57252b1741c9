"""Workers killed, stopped, doubled and fed with rubbish: every attempt starts at most once, and everything ends."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import orjson
import psutil
import pytest

from shared.events.types import RunCancelled, RunFailed, RunStarted, RunSucceeded
from tests.integration.worker.bench_of_runs import Runs, WorkerProcess
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


def test_a_frozen_worker_stops_what_was_declared_lost(runs: Runs) -> None:
    worker = runs.worker(worker_lease_seconds="2", worker_heartbeat_seconds="0.5")
    job = runs.due("wait", {"seconds": 600})
    runs.started(job)
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        # What the dispatcher's rescue does with an expired lease.
        ended = "UPDATE run_claims SET ended_at = clock_timestamp() WHERE lease_until < clock_timestamp() RETURNING 1"
        eventually(lambda: runs.query(ended), 10, "the lease has run out")
    finally:
        os.kill(worker.pid, signal.SIGCONT)
    assert isinstance(runs.ended(job, 5), RunCancelled)
    assert isinstance(runs.ended(runs.due("wait"), 15), RunSucceeded)


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
def test_mixed_runs_under_random_kills_start_at_most_once_and_all_end(runs: Runs, tmp_path: Path) -> None:
    sink = tmp_path / "sink"  # counts effects by itself: one line a start
    chance = random.Random(7)
    workers = [runs.worker(worker_grace_seconds="1") for _ in range(3)]
    over = threading.Event()
    disturbing = threading.Thread(target=_disturb, args=(workers, chance, over))
    rescuing = threading.Thread(target=_rescue, args=(runs, over))
    disturbing.start()
    rescuing.start()
    jobs = {}
    try:
        for number in range(200):
            task_type = chance.choice(["wait", "wait", "compute", "noop", "fail"])
            parameters = {"mark": str(sink)} if task_type in {"wait", "compute"} else {}
            if task_type == "wait":
                parameters["seconds"] = str(chance.random())
            jobs[runs.due(task_type, dict(parameters), schedule_id=number % 20)] = task_type
            time.sleep(0.05)
    finally:
        over.set()
        disturbing.join(60)
        rescuing.join(60)
    for worker in workers:
        worker.stop()
        worker.start()
        worker.wait_ready()
    for job in jobs:
        ended = partial(_has_ended, runs, job)
        eventually(ended, 60, f"job {job} ends")
    starts = [line.split()[0] for line in sink.read_text().splitlines()]
    assert len(starts) == len(set(starts)), "an attempt had its effect twice"
    for task_type in set(jobs.values()):
        count = sum(1 for one in jobs.values() if one == task_type)
        eventually(lambda: runs.committed(task_type) == count, 30, f"{task_type} is committed to the end")  # noqa: B023


def _has_ended(runs: Runs, job: int) -> bool:
    return bool(runs.of(job, (RunSucceeded, RunFailed))) or _is_lost(runs, job)


def _is_lost(runs: Runs, job: int) -> bool:
    """An attempt whose worker was killed: given to the rescue, which the dispatcher does in the whole system."""
    lost = "SELECT 1 FROM run_claims WHERE job_id = %s AND (ended_at IS NOT NULL OR lease_until <= clock_timestamp())"
    return bool(runs.query(lost, (job,)))


def _disturb(workers: list[WorkerProcess], chance: random.Random, over: threading.Event) -> None:
    while not over.wait(chance.uniform(0.5, 2.0)):
        worker = chance.choice(workers)
        if chance.random() < 0.6:
            worker.kill()
        else:
            worker.stop()
        worker.start()


def _rescue(runs: Runs, over: threading.Event) -> None:
    statement = (
        "UPDATE run_claims SET ended_at = clock_timestamp() WHERE lease_until < clock_timestamp() AND ended_at IS NULL"
    )
    while not over.wait(1.0):
        runs.query(statement)
