"""Batches through a real worker: order, limits, errors, cancellation, and going on after the worker was killed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from services.worker.settings import Settings
from shared.artifacts import ArtifactStore
from shared.events.types import RunCancelled, RunFailed, RunSucceeded
from tests.integration.worker.bench_of_runs import Runs
from tests.waiting import eventually

LIMIT = 40.0


@pytest.fixture
def ready(runs: Runs) -> Runs:
    """A worker that serves the plug-ins."""
    runs.worker(worker_memory_limit_mb="1024")
    return runs


def wait(mark: Path | None = None, seconds: float = 0.0, name: str | None = None) -> dict[str, Any]:
    parameters = {"seconds": seconds, **({"mark": str(mark)} if mark else {})}
    return {"task_type": "wait", "task_parameters": parameters, **({"name": name} if name else {})}


def fail(how: str, name: str | None = None) -> dict[str, Any]:
    return {"task_type": "fail", "task_parameters": {"how": how}, "name": name}


def lines(mark: Path) -> list[str]:
    return mark.read_text().splitlines() if mark.exists() else []


def test_each_operation_has_its_own_result_and_one_kind_of_job_runs_them_all(ready: Runs, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    operations = [
        wait(mark, name="first"),
        {"task_type": "compute", "task_parameters": {"mark": str(mark)}},
        {"task_type": "hostile", "task_parameters": {"how": "exit"}},
        {"task_type": "hostile", "task_parameters": {"how": "hard_exit"}},
        fail("permanent"),
        {"task_type": "export", "task_parameters": {"format": "json"}},
        {"task_type": "export", "task_parameters": {"format": "json", "report_type": "runs"}},
        wait(mark),
    ]
    ended = ready.ended(ready.due("batch", {"operations": operations, "on_error": "continue"}), LIMIT)
    assert isinstance(ended, RunSucceeded), ended
    result = ended.result
    assert (result["total"], result["succeeded"], result["failed"], result["not_run"]) == (8, 5, 3, 0)
    told = result["operations"]
    assert [one["status"] for one in told] == [
        "succeeded", "succeeded", "failed", "failed", "failed", "succeeded", "succeeded", "succeeded",
    ]  # fmt: skip
    assert told[0]["name"] == "first"
    assert told[0]["result"] == {"waited": 0.0}
    assert "exit (3)" in told[2]["error"] or "exit code 3" in told[2]["error"]
    assert told[3]["error"] == "the process ended with exit code 7"
    assert (told[4]["error"], told[4]["result"]) == ("this cannot work", {"why": "never"})
    assert all(one["duration_seconds"] >= 0 for one in told)
    # Two exports of one batch do not write over each other, and their files are the job's.
    names = [artifact.name for artifact in ended.artifacts]
    assert [name[:4] for name in names] == ["006-", "007-"]
    assert [one["artifacts"] for one in told[5:7]] == [[names[0]], [names[1]]]
    store = ArtifactStore(Settings(home=ready.home).store_url)
    for artifact in ended.artifacts:
        content = b"".join(store.open(ended.scheduled_for, ended.job_id, 1, artifact.name))
        assert json.loads(content)["report"]["project_id"] == 1
    assert len(lines(mark)) == 3


def test_the_first_failure_stops_a_batch_and_is_named(ready: Runs, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    operations = [wait(mark), fail("permanent", "nightly purge"), wait(mark)]
    job = ready.due("batch", {"operations": operations}, max_attempts=3)
    later = ready.due("batch", {"operations": [fail("later"), wait(mark)]}, max_attempts=3)
    ended = ready.ended(job, LIMIT)
    assert isinstance(ended, RunFailed)
    assert ended.error == "operation 2 (nightly purge: fail) of 3 failed: this cannot work"
    assert ended.will_retry is False
    assert ended.result is not None
    assert [one["status"] for one in ended.result["operations"]] == ["succeeded", "failed", "not_run"]
    assert len(lines(mark)) == 1
    # A failure that may pass makes the job's next attempt, when the operation's own task asked for it.
    ended = ready.ended(later, LIMIT)
    assert (ended.will_retry, ended.error) == (True, "operation 1 (fail) of 2 failed: come back later")
    assert (ended.next_attempt_at - ended.finished_at).total_seconds() == pytest.approx(90, abs=1)
    # Nothing at all having succeeded is a failure with `continue` too.
    ended = ready.ended(ready.due("batch", {"operations": [fail("permanent")] * 2, "on_error": "continue"}), LIMIT)
    assert isinstance(ended, RunFailed)
    assert ended.error.endswith("(and 1 more)")


def test_what_cannot_run_is_refused_before_anything_runs(ready: Runs, tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    def refused(*operations: dict[str, Any]) -> RunFailed:
        ended = ready.ended(ready.due("batch", {"operations": [wait(mark), *operations]}, max_attempts=3), LIMIT)
        assert isinstance(ended, RunFailed)
        assert ended.will_retry is False
        return ended

    nested = refused({"task_type": "batch", "task_parameters": {"operations": [wait(mark)]}})
    wrong = refused({"task_type": "wait", "task_parameters": {"secondz": 1}})
    unknown = refused({"task_type": "nobody_knows"})
    assert nested.reason == wrong.reason == "invalid_parameters"
    assert "a batch cannot be an operation of a batch" in nested.error
    assert "operation 2 (wait): secondz" in wrong.error
    assert (unknown.reason, "nobody_knows" in unknown.error) == ("no_handler", True)
    assert lines(mark) == []


def test_a_batch_side_by_side_keeps_its_limit_and_is_cancelled_whole(ready: Runs, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    side_by_side = {"operations": [wait(mark, 600)] * 5, "mode": "parallel", "max_parallel": 3}
    job = ready.due("batch", side_by_side)
    mixed = ready.due(
        "batch",
        {"operations": [{"task_type": "compute", "task_parameters": {"seconds": 600, "mark": str(mark) + "c"}}]},
    )
    eventually(lambda: len(lines(mark)) == 3 and lines(tmp_path / "markc"), 20)
    for one in (job, mixed):
        ready.cancel(one)
    for one in (job, mixed):
        assert isinstance(ready.ended(one, 10), RunCancelled)
    assert len(lines(mark)) == 3  # neither the fourth nor the fifth was begun
    pid = int(lines(tmp_path / "markc")[0].split()[2])
    eventually(lambda: not Path(f"/proc/{pid}").exists(), 5, "the operation's process ended")
    # The job's time limit holds for all its operations together.
    late = ready.ended(ready.due("batch", {"operations": [wait(mark, 0.3)] * 20}, timeout_seconds=1), LIMIT)
    assert (late.reason, late.error) == ("timeout", "the run took longer than 1 s")


def test_a_killed_worker_goes_on_at_the_first_unfinished_operation(ready: Runs, tmp_path: Path) -> None:
    marks = [tmp_path / str(number) for number in range(4)]
    operations = [
        wait(marks[0]),
        {"task_type": "export", "task_parameters": {"format": "csv", "report_type": "runs"}},
        wait(marks[1]),
        wait(marks[2], 2.0),
        wait(marks[3]),
    ]
    job = ready.due("batch", {"operations": operations}, max_attempts=3)
    eventually(lambda: lines(marks[2]), LIMIT, "the operation that is cut")
    ready.workers[0].kill()
    scheduled = ready.query("SELECT scheduled_for FROM run_claims WHERE job_id = %s", (job,))[0][0]
    ready.worker(instance="worker-0")
    ready.due("batch", {"operations": operations}, job_id=job, attempt=2, max_attempts=3, scheduled_for=scheduled)
    ended = ready.ended(job, LIMIT)
    assert isinstance(ended, RunSucceeded), ended
    assert ended.attempt == 2
    told = ended.result["operations"]
    assert [one["resumed"] for one in told] == [True, True, True, False, False]
    assert [one["attempt"] for one in told] == [1, 1, 1, 2, 2]
    assert Counter(len(lines(mark)) for mark in marks) == {1: 3, 2: 1}  # only the one that was cut ran twice
    # The file of the first attempt is the last attempt's too: that is where the api looks.
    (artifact,) = ended.artifacts
    store = ArtifactStore(Settings(home=ready.home).store_url)
    assert b"".join(store.open(scheduled, job, 2, artifact.name)).startswith(b"job_id,")
