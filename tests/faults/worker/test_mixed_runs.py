"""200 runs of every kind of task while workers are killed, frozen and stopped at random: each attempt once, all end."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from deploy.local.ports import free_ports
from tests.faults.worker.chaos import Disturber, Offsets, Sink
from tests.http import call
from tests.integration.worker.bench_of_runs import WorkerProcess, installed
from tests.integration.worker.test_analysis import CODE, repository
from tests.servers import TestServers
from tests.stack import Stack
from tests.topics import read_all
from tests.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.alone]


@dataclass(frozen=True)
class Kind:
    """A schedule, how often it is run, and in how many attempts at most."""

    task_type: str
    parameters: dict[str, Any]
    times: int
    max_attempts: int = 5


@dataclass
class World:
    """The whole system with three workers: the stack's own and two more."""

    stack: Stack
    more: list[WorkerProcess]
    database_url: str

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        connection = psycopg2.connect(self.database_url.replace("+psycopg2", ""))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, values)
                return cursor.fetchall()
        finally:
            connection.close()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        status, answer = call(f"{self.stack.api_url}/api/v1/{path}", body)
        assert status in {201, 202}, answer
        return answer


@pytest.fixture
def world(test_servers: TestServers, topic_prefix: str, database_url: str, tmp_path: Path) -> Iterator[World]:
    environment = {
        "COMMANDCENTER_DATABASE_URL": database_url,
        "COMMANDCENTER_KAFKA_BOOTSTRAP_SERVERS": test_servers.kafka(),
        "COMMANDCENTER_TOPIC_PREFIX": topic_prefix,
        "COMMANDCENTER_TOPIC_PARTITIONS": "3",
        "COMMANDCENTER_WORKER_GRACE_SECONDS": "2",
        "COMMANDCENTER_WORKER_LEASE_SECONDS": "6",
        "COMMANDCENTER_WORKER_HEARTBEAT_SECONDS": "1.5",
        "PYTHONPATH": installed(tmp_path / "plugged-in"),
    }
    with Stack(tmp_path / "home", environment) as stack:
        more = []
        for number, port in enumerate(free_ports(2)):
            named = {"COMMANDCENTER_INSTANCE": f"more-{number}", "COMMANDCENTER_WORKER_PORT": str(port)}
            more.append(WorkerProcess({**stack.environment, **named}, tmp_path / f"more-{number}.log"))
        with _kept_running(more):
            yield World(stack, more, database_url)


@contextmanager
def _kept_running(workers: list[WorkerProcess]) -> Iterator[None]:
    """As a supervisor does: what ends is started again."""
    over = threading.Event()

    def supervise() -> None:
        while not over.wait(0.2):
            for worker in workers:
                if not worker.runs():
                    worker.start()

    for worker in workers:
        worker.start().wait_ready()
    thread = threading.Thread(target=supervise)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for worker in workers:
            worker.kill()


def _kinds(world: World, sink: Sink, mark: Path, tmp_path: Path) -> dict[str, Kind]:
    repository(tmp_path / "source", {"app.py": CODE.replace("{token}", "x"), "requirements.txt": "flask==2.0.0\n"})
    source = world.post("repositories", {"project_id": 1, "name": "source", "url": str(tmp_path / "source")})["id"]
    hook = world.post("webhooks", {"project_id": 1, "name": "sink", "url": f"{sink.url}/hook"})["id"]
    deliver = {"webhook_id": hook, "payload": {"n": 1}}
    operations = [
        {"task_type": "webhook_delivery", "task_parameters": deliver},
        {"task_type": "wait", "task_parameters": {"seconds": 0.5}},
        {"task_type": "compute", "task_parameters": {"seconds": 0.2}},
    ]
    analysis = {"repository_id": source, "analysis_type": "full", "include_dependencies": True}
    return {
        "analysis": Kind("analysis", analysis, 15),
        "sync": Kind("sync", {"repository_id": source}, 20),
        "export of a table": Kind("export", {"format": "xlsx", "report_type": "runs"}, 15),
        "export of a page": Kind("export", {"format": "pdf"}, 5),
        "delivery, once": Kind("webhook_delivery", deliver, 30, max_attempts=1),
        "delivery": Kind("webhook_delivery", deliver, 30),
        "batch": Kind("batch", {"operations": operations}, 20),
        "health check": Kind("health_check", {"targets": [f"{sink.url}/checked"]}, 25),
        "plug-in, coroutine": Kind("wait", {"seconds": 2.0, "mark": str(mark)}, 25),
        "plug-in, process, once": Kind("compute", {"seconds": 1.5, "mark": str(mark)}, 15, max_attempts=1),
    }


def test_mixed_runs_under_random_disturbance_start_at_most_once_and_all_end(world: World, tmp_path: Path) -> None:
    chance = random.Random(7)
    sink, mark = Sink(), tmp_path / "marks"
    kinds = _kinds(world, sink, mark, tmp_path)
    schedules = {name: _schedule(world, name, kind) for name, kind in kinds.items()}
    order = [name for name, kind in kinds.items() for _ in range(kind.times)]
    chance.shuffle(order)
    assert len(order) == 200
    stack = world.stack
    offsets = Offsets(stack.bootstrap_servers, stack.topic_prefix, world.query)
    pids: dict[str, Callable[[], int]] = {"stack": lambda: stack.pid("worker")}
    pids |= {f"more-{number}": lambda one=one: one.pid for number, one in enumerate(world.more)}  # type: ignore[misc]
    disturber = Disturber(pids, chance)
    jobs: dict[int, str] = {}
    disturber.start()
    try:
        for name in order:
            jobs[world.post(f"schedules/{schedules[name]}/execute", {"force": True})["job_id"]] = name
            time.sleep(0.4)  # the time in which they are disturbed
    finally:
        disturber.end()
    print(f"disturbed: {dict(disturber.done)}")
    assert min(disturber.done[what] for what in ("SIGKILL", "SIGTERM", "SIGSTOP")) >= 3

    statuses = "SELECT id, status, reason, attempt, error FROM jobs"
    open_ones = "SELECT count(*) FROM jobs WHERE status NOT IN ('succeeded', 'failed', 'cancelled')"
    eventually(lambda: world.query(open_ones) == [(0,)], 180, f"every job ends {stack.log_tails()}", poll=0.5)
    eventually(lambda: offsets.behind() == 0, 60, "every record is committed", poll=0.5)
    offsets.close()
    sink.close()
    ended = {row[0]: row[1:] for row in world.query(statuses)}
    assert set(ended) == set(jobs)
    told = Counter((jobs[job], status, reason) for job, (status, reason, _, _) in ended.items())
    print(
        "\n".join(
            f"{count:4} {kind}: {status} {reason or ''}"
            for (kind, status, reason), count in sorted(told.items(), key=str)
        )
    )
    _check_ends(kinds, jobs, ended)
    assert not offsets.passed, "offsets passed attempts that nobody had claimed"
    _check_starts(world, kinds, jobs)
    _check_effects(world, kinds, jobs, sink, mark)


def _schedule(world: World, name: str, kind: Kind) -> int:
    body = {
        "project_id": 1,
        "name": name,
        "task_type": kind.task_type,
        "task_parameters": kind.parameters,
        "frequency": "monthly",
        "overlap_policy": "allow",
        "max_attempts": kind.max_attempts,
        "retry_first_seconds": 1,
        "retry_cap_seconds": 2,
        "timeout_seconds": 120,
    }
    return int(world.post("schedules", body)["id"])


def _check_ends(kinds: dict[str, Kind], jobs: dict[int, str], ended: dict[int, tuple[Any, ...]]) -> None:
    """A job fails only when all its attempts did: by a lost worker, or by a network that a frozen one waited for."""
    for job, (status, reason, attempt, error) in ended.items():
        kind = kinds[jobs[job]]
        told = (job, jobs[job], reason, error)
        assert (status, reason) in {("succeeded", None), ("failed", "worker_lost"), ("failed", "error")}, told
        assert status == "succeeded" or attempt == kind.max_attempts, told
    succeeded = {jobs[job] for job, (status, *_) in ended.items() if status == "succeeded"}
    assert succeeded == set(kinds), "runs of every kind came through"


def _check_starts(world: World, kinds: dict[str, Kind], jobs: dict[int, str]) -> None:
    stack = world.stack
    seen = read_all(stack.bootstrap_servers, [f"{stack.topic_prefix}runs.results"])
    started = Counter(
        (one.data["job_id"], one.data["attempt"])
        for one in seen
        if one.headers["ce_type"] == "commandcenter.run.started.v1"
    )
    assert set(started.values()) == {1}, [key for key, count in started.items() if count > 1]
    open_claims = "SELECT count(*) FROM run_claims WHERE ended_at IS NULL"
    eventually(lambda: world.query(open_claims) == [(0,)], 30, "the rescue closes what a dead worker could not")
    claims = set(world.query("SELECT job_id, attempt FROM run_claims"))
    assert claims >= set(started)
    assert all(attempt <= kinds[jobs[job]].max_attempts for job, attempt in claims)
    assert any(attempt > 1 for _job, attempt in claims), "the disturbance has cost attempts"
    print(f"{len(claims)} attempts of {len(jobs)} jobs")


def _check_effects(world: World, kinds: dict[str, Kind], jobs: dict[int, str], sink: Sink, mark: Path) -> None:
    attempts = Counter(job for (job,) in world.query("SELECT job_id FROM run_claims"))
    succeeded = {job for (job,) in world.query("SELECT id FROM jobs WHERE status = 'succeeded'")}
    delivering = {job for job, name in jobs.items() if name in {"delivery", "delivery, once", "batch"}}
    assert set(sink.deliveries) <= delivering
    for job in delivering:
        assert sink.deliveries[job] <= attempts[job], f"job {job}: more effects than attempts"
        assert len(sink.ids.get(job, ())) <= 1, "every attempt is the same message"
        assert job not in succeeded or sink.deliveries[job] >= 1
    checks = [job for job, name in jobs.items() if name == "health check"]
    assert (
        len([job for job in checks if job in succeeded]) <= sink.visits["/checked"] <= sum(attempts[j] for j in checks)
    )
    marks = [tuple(map(int, line.split()[:2])) for line in mark.read_text().splitlines()]
    assert len(marks) == len(set(marks)), "an attempt had its effect twice"
    assert {job for job in succeeded if kinds[jobs[job]].parameters.get("mark")} <= {job for job, _attempt in marks}
