"""The documented external worker, as a process of its own: serves its registered type, with and without claims."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from deploy.local.ports import free_ports
from deploy.local.settings import PROJECT_ROOT
from shared.events.types import RunFailed, RunSucceeded
from tests.integration.worker.bench_of_runs import Runs
from tests.waiting import eventually


@contextmanager
def external(runs: Runs, api: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """The example that serves at least once; given the api, the one that claims, with a lease of five seconds."""
    script = "external_worker.py" if api is None else "external_worker_claiming.py"
    command = [sys.executable, str(PROJECT_ROOT / "examples" / script), runs.kafka, "render"]
    process = subprocess.Popen(
        command if api is None else [*command, api],
        env={**os.environ, "COMMANDCENTER_TOPIC_PREFIX": runs.prefix, "LEASE_SECONDS": "5"},
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
    taken, ours = _job(runs), _job(runs)
    # Somebody has started the first one already.
    runs.query(
        "INSERT INTO run_claims (job_id, attempt, schedule_id, scheduled_for, worker, lease_until)"
        " VALUES (%s, 1, 7, now(), 'another', now() + interval '1 minute')",
        (taken,),
    )
    with api(runs) as url, external(runs, url):
        assert isinstance(runs.ended(ours, 30), RunSucceeded)
        assert not runs.of(taken, (RunSucceeded, RunFailed))
        assert "external-worker" in runs.claims()[(ours, 1)]["worker"]


def test_heartbeats_keep_its_claim_and_a_crash_repeats_nothing(runs: Runs) -> None:
    runs.topics("render")
    slow = _job(runs, seconds=8)
    with api(runs) as url:
        with external(runs, url):
            ended = runs.ended(slow, 30)
            assert isinstance(ended, RunSucceeded)
            assert ended.duration_seconds is not None
            assert ended.duration_seconds > 5, "longer than the lease"
            assert runs.claims()[(slow, 1)]["lease_until"] > ended.finished_at
            crashing = _job(runs, seconds=600)
            eventually(lambda: (crashing, 1) in runs.claims(), 10)
        eventually(
            lambda: runs.claims()[(crashing, 1)]["lease_until"] < datetime.now(UTC), 10, "for the rescue to take"
        )
        with external(runs, url):  # the same event again: somebody has started it
            assert isinstance(runs.ended(_job(runs), 60), RunSucceeded)
        assert not runs.of(crashing, (RunSucceeded, RunFailed))


def test_it_stops_working_on_what_has_been_taken_away(runs: Runs) -> None:
    runs.topics("render")
    job = _job(runs, seconds=600)
    with api(runs) as url, external(runs, url) as process:
        eventually(lambda: (job, 1) in runs.claims(), 30)
        runs.query("UPDATE run_claims SET ended_at = now()")  # as the rescue does
        assert process.wait(5) == 1
    assert not runs.of(job, (RunSucceeded, RunFailed))


def _job(runs: Runs, seconds: float = 0.0) -> int:
    """A due run whose job the api knows."""
    ((job,),) = runs.query(
        "INSERT INTO jobs (schedule_id, schedule_version, project_id, task_type, trigger, status, scheduled_for)"
        " VALUES (7, 1, 1, 'render', 'manual', 'queued', clock_timestamp()) RETURNING id"
    )
    return runs.due("render", {"template": "a page", "seconds": seconds}, job_id=job)
