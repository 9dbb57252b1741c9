"""What the worker's tests stand on: a real worker process, due runs for it, its results read by a third party."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import orjson
import psycopg2
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka import Producer as RawProducer

from deploy.local.ports import free_ports
from deploy.local.settings import PROJECT_ROOT
from shared.events.due import DueRun, RunPolicy, due_message
from shared.events.envelope import Event, decode, encode
from shared.events.topics import FIXED, runs_due
from shared.events.types import Actor, EventData, RunCancel, RunCancelled, RunFailed, RunStarted, RunSucceeded
from shared.kafka.topics import ensure_topics
from tests.waiting import eventually

Ended = RunSucceeded | RunFailed | RunCancelled


class WorkerProcess:
    """`python -m services.worker`, as the stack starts it."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.environment = environment
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> WorkerProcess:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.worker"],
                cwd=PROJECT_ROOT,
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        url = f"http://127.0.0.1:{self.environment['COMMANDCENTER_WORKER_PORT']}{path}"
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return answer.status, orjson.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, orjson.loads(error.read())
        except OSError:
            return 0, {}

    def wait_ready(self, seconds: float = 30.0) -> WorkerProcess:
        eventually(lambda: self.get("/readyz")[0] == 200 or self._fail_if_ended(), seconds, f"ready: {self.log}")
        return self

    def _fail_if_ended(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"the worker ended with {self._process.returncode}:\n{self.text()[-3000:]}")
        return False

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def runs(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def wait(self, seconds: float) -> int:
        """Until it has ended by itself; returns the exit code."""
        assert self._process is not None
        code = self._process.wait(seconds)
        self._process = None
        return code

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self, seconds: float = 20.0) -> int:
        """SIGTERM; returns the exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(seconds)
        self._process = None
        return code


@dataclass
class Runs:
    """One system as its worker sees it: topics and a database of this test alone."""

    kafka: str
    prefix: str
    database_url: str
    home: Path
    results: list[Event] = field(default_factory=list)
    workers: list[WorkerProcess] = field(default_factory=list)
    _ids: int = 1_000

    def __post_init__(self) -> None:
        ensure_topics(self.kafka, self.prefix, FIXED, partitions=2, replication=1)
        self._producer = RawProducer({"bootstrap.servers": self.kafka, "linger.ms": 0})
        self._over = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def topics(self, *task_types: str, partitions: int = 2) -> None:
        ensure_topics(
            self.kafka, self.prefix, [runs_due(name) for name in task_types], partitions=partitions, replication=1
        )

    def worker(
        self,
        *,
        ready: bool = True,
        instance: str | None = None,
        plug_ins: dict[str, str] | None = None,
        **settings: str,
    ) -> WorkerProcess:
        """Start a worker; settings as in its environment, without the prefix. `plug_ins`: see `installed`."""
        number = len(self.workers)
        environment = {
            "COMMANDCENTER_DATABASE_URL": self.database_url,
            "COMMANDCENTER_KAFKA_BOOTSTRAP_SERVERS": self.kafka,
            "COMMANDCENTER_TOPIC_PREFIX": self.prefix,
            "COMMANDCENTER_TOPIC_PARTITIONS": "2",
            "COMMANDCENTER_WORKER_PORT": str(free_ports(1)[0]),
            "COMMANDCENTER_HOME": str(self.home),
            "COMMANDCENTER_INSTANCE": instance or f"worker-{number}",
            "PYTHONPATH": installed(self.home / "plugged-in", plug_ins),
            **{f"COMMANDCENTER_{name.upper()}": value for name, value in settings.items()},
        }
        worker = WorkerProcess(environment, self.home / f"worker-{number}.log")
        self.workers.append(worker)
        worker.start()
        return worker.wait_ready() if ready else worker

    def due(
        self,
        task_type: str,
        parameters: dict[str, Any] | None = None,
        *,
        attempt: int = 1,
        job_id: int | None = None,
        schedule_id: int = 7,
        max_attempts: int = 1,
        timeout_seconds: int = 60,
        first_seconds: float = 30.0,
        scheduled_for: datetime | None = None,
        traceparent: str | None = None,
    ) -> int:
        """Send a due run; returns its job id."""
        if job_id is None:
            self._ids += 1
            job_id = self._ids
        now = datetime.now(UTC)
        run = DueRun(
            job_id=job_id,
            attempt=attempt,
            schedule_id=schedule_id,
            project_id=1,
            task_type=task_type,
            scheduled_for=scheduled_for or now,
            schedule_version=1,
            schedule_name="a schedule",
            trigger="schedule",
            task_parameters=orjson.dumps(parameters or {}).decode(),
            tags="{}",
            policy=RunPolicy(max_attempts, first_seconds, 3600.0, timeout_seconds, None),
            deadline_from=now,
        )
        message = due_message(run, now, traceparent)
        self.send(message.topic, message.key.encode(), message.headers, (message.value or "").encode())
        return job_id

    def send(self, topic: str, key: bytes, headers: dict[str, str], value: bytes) -> None:
        self._producer.produce(self.prefix + topic, value, key, headers=dict(headers))
        self._producer.flush(10)

    def cancel(self, job_id: int) -> None:
        data = RunCancel(job_id=job_id, schedule_id=7, actor=Actor(name="test"))
        message = encode("runs.control", Event(f"cancel-{job_id}", "/test", datetime.now(UTC), data, 7, job_id))
        self.send(message.topic, b"7", message.headers, (message.value or "").encode())

    def of(self, job_id: int, kind: type[EventData] | tuple[type[EventData], ...]) -> list[Any]:
        return [event.data for event in list(self.results) if event.job_id == job_id and isinstance(event.data, kind)]

    def ended(self, job_id: int, seconds: float = 20.0) -> Any:
        """The first end of a job's attempt."""
        what = (RunSucceeded, RunFailed, RunCancelled)
        return eventually(lambda: self.of(job_id, what), seconds, f"an end of job {job_id}")[0]

    def started(self, job_id: int, seconds: float = 20.0) -> RunStarted:
        found: list[RunStarted] = eventually(lambda: self.of(job_id, RunStarted), seconds, f"a start of job {job_id}")
        return found[0]

    def claims(self) -> dict[tuple[int, int], dict[str, Any]]:
        rows = self.query("SELECT job_id, attempt, worker, ended_at, will_retry, lease_until FROM run_claims")
        return {
            row[:2]: {"worker": row[2], "ended_at": row[3], "will_retry": row[4], "lease_until": row[5]} for row in rows
        }

    def query(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        connection = psycopg2.connect(self.database_url.replace("+psycopg2", ""))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, values)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def committed(self, task_type: str) -> int:
        """How many records of that type's topic the group has committed."""
        consumer = Consumer({"bootstrap.servers": self.kafka, "group.id": f"{self.prefix}worker"})
        try:
            topic = self.prefix + runs_due(task_type).name
            count = len(consumer.list_topics(topic, 5).topics[topic].partitions)
            offsets = consumer.committed([TopicPartition(topic, one) for one in range(count)], timeout=5)
            return sum(max(0, one.offset) for one in offsets)
        finally:
            consumer.close()

    def read(self, topic: str, seconds: float = 1.0) -> list[Any]:
        """Everything that lies in a topic now."""
        consumer = Consumer(
            {"bootstrap.servers": self.kafka, "group.id": f"{self.prefix}reader", "enable.auto.commit": False}
        )
        try:
            name = self.prefix + topic
            ends = []
            for partition in consumer.list_topics(name, 5).topics[name].partitions:
                low, high = consumer.get_watermark_offsets(TopicPartition(name, partition), 5)
                if high > low:
                    ends.append((partition, low, high))
            consumer.assign([TopicPartition(name, partition, low) for partition, low, _high in ends])
            found: list[Any] = []
            wanted, deadline = sum(high - low for _, low, high in ends), time.monotonic() + 10 * seconds
            while len(found) < wanted and time.monotonic() < deadline:
                found.extend(one for one in consumer.consume(100, 0.2) if one.error() is None)
            return found
        finally:
            consumer.close()

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
        self._over.set()
        self._reader.join(5)

    def _read(self) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": self.kafka,
                "group.id": f"{self.prefix}third-party",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            }
        )
        topic = self.prefix + "runs.results"
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(2)])
        while not self._over.is_set():
            for message in consumer.consume(500, 0.1):
                if message.error() is None:
                    self.results.append(
                        decode(cast("list[tuple[str, bytes]]", message.headers() or []), message.value())
                    )
        consumer.close()


@contextmanager
def runs_on(kafka: str, prefix: str, database_url: str, home: Path) -> Iterator[Runs]:
    runs = Runs(kafka, prefix, database_url, home)
    try:
        yield runs
    finally:
        runs.close()


PLUG_INS = {
    "plug_in": ("noop", "wait", "stubborn", "compute", "fail"),
    "hostile_tasks": ("hostile", "hostile_coroutine", "odd_parameters", "unschemed"),
    "exits_on_import": ("exits",),
}


def installed(folder: Path, points: dict[str, str] | None = None) -> str:
    """Install plug-ins as a team's package would be: by entry points (name → `module:function`; default ours).

    Returns the PYTHONPATH.
    """
    about = folder / "a_teams_tasks-1.0.dist-info"
    about.mkdir(parents=True, exist_ok=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: a-teams-tasks\nVersion: 1.0\n")
    ours = {name: f"tests.integration.worker.{module}:{name}" for module, names in PLUG_INS.items() for name in names}
    lines = [f"{name} = {place}" for name, place in (points or ours).items()]
    (about / "entry_points.txt").write_text("[commandcenter.tasks]\n" + "\n".join(lines) + "\n")
    return f"{folder}{os.pathsep}{PROJECT_ROOT}"
