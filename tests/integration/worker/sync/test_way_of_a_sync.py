"""A sync's whole way: run.due over Kafka, a child process of a real worker, git, the result over Kafka."""

from __future__ import annotations

from pathlib import Path

from shared.events.types import RunFailed, RunSucceeded
from tests.integration.worker.bench_of_runs import Runs
from tests.integration.worker.sync.repositories import Work


def test_a_worker_syncs_and_tells_what_is_new(runs: Runs, tmp_path: Path) -> None:
    work = Work(tmp_path / "work")
    work.commit("first")
    insert = "INSERT INTO repositories (project_id, name, url) VALUES (1, 'tool', %s) RETURNING id"
    [(repository,)] = runs.query(insert, (str(work.folder),))
    runs.worker()
    first = runs.ended(runs.due("sync", {"repository_id": repository}))
    assert isinstance(first, RunSucceeded), first
    assert first.result["new_commits"] == 1

    sha = work.commit("second")
    second = runs.ended(runs.due("sync"))
    assert isinstance(second, RunSucceeded), second
    assert [one["sha"] for one in second.result["repositories"][0]["commits"]] == [sha]

    missing = runs.ended(runs.due("sync", {"repository_id": 999}, max_attempts=3))
    assert isinstance(missing, RunFailed)
    assert (missing.will_retry, missing.error) == (False, "project 1 has no repository 999")
