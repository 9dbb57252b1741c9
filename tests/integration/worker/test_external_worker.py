"""The documented external worker, as a process of its own: serves its registered type, with and without claims."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import orjson

from deploy.local.ports import free_ports
from deploy.local.settings import PROJECT_ROOT
from shared.events.types import RunFailed, RunSucceeded
from tests.integration.worker.bench_of_runs import Runs
from tests.waiting import eventually


@contextmanager
def external(runs: Runs, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, str(PROJECT_ROOT / "examples" / "external_worker.py"), runs.kafka, "render", *arguments],
        env={**os.environ, "COMMANDCENTER_TOPIC_PREFIX": runs.prefix},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def api(runs: Runs) -> Iterator[str]:
    port = free_ports(1)[0]
    environment = {
        "COMMANDCENTER_DATABASE_URL": runs.database_url,
        "COMMANDCENTER_API_PORT": str(port),
        "COMMANDCENTER_HOME": str(runs.home),
        "COMMANDCENTER_TOPIC_PREFIX": runs.prefix,
    }
    process = subprocess.Popen([sys.executable, "-m", "services.api"], env={**os.environ, **environment})
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: _answers(f"{url}/readyz"), 30, "the api is ready")
        yield url
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_it_answers_what_it_is_asked_at_least_once(runs: Runs) -> None:
    runs.topics("render")
    fine = runs.due("render", {"template": "a page"})
    broken = runs.due("render", {"wrong": 1})
    with external(runs) as process:
        ended = runs.ended(fine, 30)
        assert isinstance(ended, RunSucceeded)
        assert (ended.result, ended.worker) == ({"rendered": "A PAGE"}, "external-worker")
        failed = runs.ended(broken)
        assert isinstance(failed, RunFailed)
        assert failed.error == "KeyError('template')"
        process.terminate()
        assert process.wait(15) == 0
    with external(runs):  # what was committed does not come again
        last = runs.due("render", {"template": "b"})
        runs.ended(last, 30)
        assert len(runs.of(fine, RunSucceeded)) == 1


def test_with_claims_it_starts_an_attempt_at_most_once(runs: Runs) -> None:
    runs.topics("render")
    jobs = []
    for _ in range(2):
        job = runs.due("render", {"template": "a page"}, schedule_id=7)
        runs.query(
            "INSERT INTO jobs (id, schedule_id, schedule_version, project_id, task_type, trigger, status,"
            " scheduled_for) VALUES (%s, 7, 1, 1, 'render', 'manual', 'queued', now())",
            (job,),
        )
        jobs.append(job)
    # Somebody has started the first one already.
    runs.query(
        "INSERT INTO run_claims (job_id, attempt, schedule_id, scheduled_for, worker, lease_until)"
        " VALUES (%s, 1, 7, now(), 'another', now() + interval '1 minute')",
        (jobs[0],),
    )
    with api(runs) as url, external(runs, url):
        assert isinstance(runs.ended(jobs[1], 30), RunSucceeded)
        assert not runs.of(jobs[0], (RunSucceeded, RunFailed))
        holder = runs.claims()[(jobs[1], 1)]["worker"]
        assert "external-worker" in holder
        heartbeat = f"{url}/api/v1/jobs/{jobs[1]}/attempts/1/heartbeat"
        body = orjson.dumps({"worker": "external-worker", "lease_seconds": 60})
        request = urllib.request.Request(heartbeat, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert answer.status == 200
