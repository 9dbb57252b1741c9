"""Starts the api as the stack does, asks it over HTTP, and looks into its database."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import orjson
import psycopg2

from deploy.local.ports import free_ports
from deploy.local.settings import PROJECT_ROOT
from tests.waiting import eventually

CREATE: dict[str, Any] = {
    "project_id": 1,
    "name": "Daily Repository Analysis",
    "description": "Analyze repository changes daily",
    "task_type": "analysis",
    "frequency": "daily",
    "timezone": "America/New_York",
    "task_parameters": {"repository_id": 42, "analysis_type": "full"},
    "enabled": True,
    "tags": {"team": "backend", "priority": "high"},
}


@dataclass
class Api:
    """A running api."""

    url: str
    client: httpx2.Client
    database_url: str
    log: Path
    process: subprocess.Popen[bytes]

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Plain SQL against its database."""
        connection = psycopg2.connect(self.database_url.replace("+psycopg2", ""))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def create(self, **fields: object) -> dict[str, Any]:
        """A schedule made over HTTP."""
        answer = self.client.post("/api/v1/schedules", json={**CREATE, **fields})
        assert answer.status_code == 201, answer.text
        schedule: dict[str, Any] = answer.json()
        return schedule

    def make_due(self, schedule_id: int, seconds_ago: float = 5) -> None:
        """Move a schedule's next occurrence into the past, as if no dispatcher had come."""
        self.rows(
            "UPDATE schedule_timers SET next_run_at = date_trunc('second', now()) - %s * interval '1 second'"
            " WHERE schedule_id = %s",
            seconds_ago,
            schedule_id,
        )

    def messages(self, schedule_id: int) -> list[dict[str, Any]]:
        """What waits in the outbox for a schedule, in order."""
        stored = [text for (text,) in self.rows("SELECT messages FROM outbox ORDER BY id")]
        return [message for text in stored for message in orjson.loads(text) if message.get("key") == str(schedule_id)]


@contextmanager
def running_api(home: Path, database_url: str, **environment: str) -> Iterator[Api]:
    """`python -m services.api` on a free port, ready; ended by SIGTERM."""
    port = free_ports(1)[0]
    log = home / "api.log"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COMMANDCENTER_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.api"],
            cwd=PROJECT_ROOT,
            env={
                **inherited,
                "COMMANDCENTER_DATABASE_URL": database_url,
                "COMMANDCENTER_HOME": str(home),
                "COMMANDCENTER_API_PORT": str(port),
                **environment,
            },
            stdout=output,
            stderr=output,
        )
    url = f"http://127.0.0.1:{port}"
    client = httpx2.Client(base_url=url, timeout=20, trust_env=False)
    try:
        eventually(lambda: _answers(client) or process.poll() is not None, 30, "the api answers")
        assert process.poll() is None, log.read_text()
        yield Api(url, client, database_url, log, process)
    finally:
        client.close()
        process.terminate()
        try:
            process.wait(10)
        finally:
            process.kill()


def _answers(client: httpx2.Client) -> bool:
    try:
        return client.get("/livez").status_code == 200
    except httpx2.TransportError:
        return False
