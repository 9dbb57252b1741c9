"""For the dispatcher's tests: real dispatcher processes, stored schedules, and the ledger they leave."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
from confluent_kafka import KafkaError, KafkaException

from deploy.local.postgres import libpq_url
from deploy.local.settings import PROJECT_ROOT
from tests.topics import Seen, read_all
from tests.waiting import eventually

_COLUMNS = """INSERT INTO schedules (project_id, name, task_type, task_parameters, tags, frequency, cron_expression,
    interval_seconds, timezone, start_time, end_time, jitter_seconds, overlap_policy, catchup_policy,
    catchup_window_seconds, max_attempts, start_deadline_seconds, queue_timeout_seconds, retry_first_seconds,
    created_at)
VALUES (%(project_id)s, %(name)s, %(task_type)s, %(task_parameters)s, '{"team": "backend"}', %(frequency)s,
    %(cron_expression)s, %(interval_seconds)s, %(timezone)s, %(start_time)s, %(end_time)s, %(jitter_seconds)s,
    %(overlap_policy)s, %(catchup_policy)s, %(catchup_window_seconds)s, %(max_attempts)s, %(start_deadline_seconds)s,
    %(queue_timeout_seconds)s, %(retry_first_seconds)s, now() - interval '1 day')
RETURNING id"""
_DEFAULTS: dict[str, Any] = {
    "project_id": 1,
    "name": "a schedule",
    "task_type": "health_check",
    "task_parameters": "{}",
    "frequency": "cron",
    "cron_expression": None,
    "interval_seconds": None,
    "timezone": "UTC",
    "start_time": None,
    "end_time": None,
    "jitter_seconds": 0,
    "overlap_policy": "skip",
    "catchup_policy": "latest",
    "catchup_window_seconds": 86_400,
    "max_attempts": 3,
    "start_deadline_seconds": None,
    "queue_timeout_seconds": 86_400,
    "retry_first_seconds": 30.0,
}


class Ledger:
    """A test's own look into the database."""

    def __init__(self, database_url: str) -> None:
        self._url = libpq_url(database_url)
        self._connection = psycopg2.connect(self._url)
        self._connection.autocommit = True

    def run(self, statement: str, values: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement; reconnects after the server was restarted."""
        if self._connection.closed:
            self._connection = psycopg2.connect(self._url)
            self._connection.autocommit = True
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def one(self, statement: str, values: dict[str, Any] | None = None) -> Any:
        """The first column of the first row."""
        rows = self.run(statement, values)
        return rows[0][0] if rows else None

    def schedule(self, due: str | None = "now()", **fields: Any) -> int:
        """Store a schedule whose timer is due at an SQL instant; returns its id."""
        schedule_id = int(self.one(_COLUMNS, {**_DEFAULTS, **fields}))
        self.run(
            f"INSERT INTO schedule_timers (schedule_id, project_id, next_run_at)"
            f" SELECT id, project_id, {due or 'NULL'} FROM schedules WHERE id = %(id)s",
            {"id": schedule_id},
        )
        return schedule_id

    def wake(self) -> None:
        """What the api does after a change."""
        self.run("NOTIFY commandcenter_due")

    def jobs(self, schedule_id: int) -> list[dict[str, Any]]:
        """A schedule's ledger, oldest first."""
        rows = self.run(
            "SELECT to_jsonb(j) FROM jobs j WHERE schedule_id = %(id)s ORDER BY scheduled_for, id", {"id": schedule_id}
        )
        return [row[0] for row in rows]

    def on_time(self, schedule_id: int) -> list[dict[str, Any]]:
        """The same without what was missed before the dispatcher was up."""
        return [job for job in self.jobs(schedule_id) if job["reason"] != "catchup"]

    def outbox_empty(self) -> bool:
        """Whether everything is acknowledged by Kafka."""
        return bool(self.one("SELECT count(*) = 0 FROM outbox"))

    def deadlocks(self) -> int:
        """How many PostgreSQL has found in this database."""
        return int(self.one("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))

    def leader(self) -> tuple[str, int]:
        """Who holds the lease, under which epoch; an expired one counts as nobody."""
        row = self.run("SELECT holder, epoch, expires_at > clock_timestamp() FROM leases WHERE name = 'dispatcher'")[0]
        return (row[0] if row[2] else ""), row[1]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@dataclass
class DispatcherProcess:
    """A real `python -m services.dispatcher`."""

    name: str
    process: subprocess.Popen[bytes]
    log_path: Path
    _port: int = field(default=0)

    @property
    def log(self) -> str:
        """Everything it has said."""
        return self.log_path.read_text(errors="replace")

    @property
    def port(self) -> int:
        """Where its probes answer."""
        if not self._port:
            self._port = int(eventually(lambda: re.search(r"port=(\d+)", self.log), 20, f"{self.name} starts")[1])
        return self._port

    def get(self, path: str) -> tuple[int, str]:
        """A probe's status and text."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        lines = [line for line in self.get("/metrics")[1].splitlines() if re.match(rf"{name}[ {{]", line)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.process.pid, number)

    def stop(self) -> int:
        """End it gracefully; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        return self.process.wait(20)


class Dispatchers:
    """Starts dispatchers against one database and one set of topics."""

    def __init__(self, database_url: str, kafka: str, prefix: str, directory: Path) -> None:
        self.database_url, self.kafka, self.prefix, self._directory = database_url, kafka, prefix, directory
        self.started: list[DispatcherProcess] = []

    def start(self, name: str = "one", **environment: str) -> DispatcherProcess:
        """Start one and wait until it serves its probes."""
        path = self._directory / f"{name}-{len(self.started)}.log"
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("COMMANDCENTER_")}
        settings = {
            "COMMANDCENTER_DATABASE_URL": self.database_url,
            "COMMANDCENTER_KAFKA_BOOTSTRAP_SERVERS": self.kafka,
            "COMMANDCENTER_TOPIC_PREFIX": self.prefix,
            "COMMANDCENTER_TOPIC_PARTITIONS": "2",
            "COMMANDCENTER_DISPATCHER_PORT": "0",
            "COMMANDCENTER_INSTANCE": name,
            "COMMANDCENTER_DISPATCHER_PATIENCE_SECONDS": "0",  # PostgreSQL was not away
            **environment,
        }
        with path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "services.dispatcher"],
                cwd=PROJECT_ROOT,
                env={**inherited, **settings},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        dispatcher = DispatcherProcess(name, process, path)
        self.started.append(dispatcher)
        assert dispatcher.port
        return dispatcher

    def events(self, *topics: str) -> list[Seen]:
        """What is in these topics (without prefix). A topic that was made this very moment has no leader yet."""
        names = [self.prefix + topic for topic in topics]
        for attempt in range(50):
            try:
                return read_all(self.kafka, names)
            except KafkaException as error:
                if attempt == 49 or error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION:
                    raise
        return []

    def stop(self) -> None:
        """End all."""
        for dispatcher in self.started:
            if dispatcher.process.poll() is None:
                dispatcher.signal(signal.SIGCONT)
                dispatcher.process.kill()
                dispatcher.process.wait(10)


@contextmanager
def dispatchers(database_url: str, kafka: str, prefix: str, directory: Path) -> Iterator[Dispatchers]:
    """Dispatchers that are ended with the block."""
    made = Dispatchers(database_url, kafka, prefix, directory)
    try:
        yield made
    finally:
        made.stop()


def published_once(events: list[Seen]) -> dict[int, dict[str, Any]]:
    """run.due events by job id; a repeat must be the very same event."""
    jobs: dict[int, dict[str, Any]] = {}
    for event in events:
        known = jobs.setdefault(event.data["job_id"], {"data": event.data, "headers": event.headers})
        assert json.dumps(known["data"], sort_keys=True) == json.dumps(event.data, sort_keys=True)
        assert known["headers"] == event.headers
    return jobs
