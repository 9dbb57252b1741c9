"""The real servers and services of one benchmark case, each started when the case first asks for it.

Everything lives in a home of its own that is thrown away, on free ports: no case sees another's data, and a running
stack is not disturbed. A watcher (watch.py) ends it all when the benchmark is killed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from deploy.local.kafka import KafkaServer
from deploy.local.ports import free_ports
from deploy.local.postgres import OWNER, PostgresServer, binary
from deploy.local.probes import readiness
from deploy.local.server import Launch, last_line, spawn, wait_until
from deploy.local.settings import PROJECT_ROOT, read_settings

READY = 60.0


class BenchServers:
    """What a case gets as `servers`."""

    def __init__(self) -> None:
        self._exit = ExitStack()
        self._postgres: PostgresServer | None = None
        self._kafka: KafkaServer | None = None
        self._has_tables = False
        self.topic_prefix = "commandcenter."
        self.home = Path()

    def __enter__(self) -> Self:
        self.home = Path(self._exit.enter_context(tempfile.TemporaryDirectory(prefix="commandcenter-bench-")))
        command = [sys.executable, "-m", "benchmarks.watch", str(os.getpid()), str(self.home)]
        # In a session of its own: what ends the benchmark, Ctrl-C or a closed terminal, must not end its watcher.
        self._watcher = subprocess.Popen(command, cwd=PROJECT_ROOT, stdin=subprocess.DEVNULL, start_new_session=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()
        self._watcher.wait(5)

    @property
    def postgres(self) -> PostgresServer:
        """A PostgreSQL of this case's own, as durable as that of the local stack."""
        if self._postgres is None:
            server = PostgresServer(self.home / "postgres", free_ports(1)[0], shared_buffers="512MB")
            self._postgres = self._exit.enter_context(server)
        return self._postgres

    @property
    def kafka(self) -> KafkaServer:
        """A Kafka of this case's own."""
        if self._kafka is None:
            server = KafkaServer(self.home / "kafka", free_ports(2)[0], cache=read_settings().cache, say=print)
            self._kafka = self._exit.enter_context(server)
        return self._kafka

    @property
    def kafka_bootstrap_servers(self) -> str:
        """What a client is given."""
        return self.kafka.bootstrap_servers

    @property
    def database_url(self) -> str:
        """The case's database with all migrations (`postgresql+psycopg2://…`)."""
        self._migrated()
        return self.postgres.database_url

    def _migrated(self) -> None:
        if not self._has_tables:
            _migrate(self.postgres.database_url, self.postgres.owner_url)
            self._has_tables = True

    @property
    def owner_url(self) -> str:
        """The case's database for the owner of its tables, who may vacuum and truncate them."""
        self._migrated()
        return self.postgres.owner_url

    def new_database(self) -> str:
        """One more database with all migrations, empty, for the owner of its tables."""
        name = f"bench_{uuid.uuid4().hex[:8]}"
        statement = f'CREATE DATABASE "{name}" OWNER {OWNER}'
        subprocess.run([binary("psql"), "-XAtqc", statement, self.postgres.admin_url], check=True)
        url, owner_url = (
            f"{one.rsplit('/', 1)[0]}/{name}" for one in (self.postgres.database_url, self.postgres.owner_url)
        )
        _migrate(url, owner_url)
        return owner_url

    def environment(self) -> dict[str, str]:
        """What a service of this case is started with."""
        return {
            "COMMANDCENTER_HOME": str(self.home),
            "COMMANDCENTER_DATABASE_URL": self.database_url,
            "COMMANDCENTER_KAFKA_BOOTSTRAP_SERVERS": self.kafka_bootstrap_servers,
            "COMMANDCENTER_TOPIC_PREFIX": self.topic_prefix,
        }

    def start(self, name: str, port: int, **environment: str) -> subprocess.Popen[bytes]:
        """Start api, dispatcher, worker or health as the stack does; the caller ends it."""
        settings = {**self.environment(), f"COMMANDCENTER_{name.upper()}_PORT": str(port), **environment}
        return spawn(Launch(name, (sys.executable, "-m", f"services.{name}"), self._log(name), settings))

    def _log(self, name: str) -> Path:
        return self.home / "logs" / f"{name}.log"

    @contextmanager
    def service(self, name: str, **environment: str) -> Iterator[str]:
        """Run one of them; gives its URL once it is ready."""
        port = free_ports(1)[0]
        process = self.start(name, port, **environment)
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda: process.poll() is not None or readiness(url)[0], READY)
            if process.poll() is not None or not readiness(url)[0]:
                raise RuntimeError(f"{name} did not become ready: {readiness(url)[1]} {last_line(self._log(name))}")
            yield url
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _migrate(url: str, owner_url: str) -> None:
    environment = {
        **os.environ,
        "COMMANDCENTER_DATABASE_URL": url,
        "COMMANDCENTER_MIGRATIONS_DATABASE_URL": owner_url,
    }
    command = [sys.executable, "-m", "migrations"]
    step = subprocess.run(command, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, check=False)
    if step.returncode != 0:
        raise RuntimeError(f"the migration step failed: {step.stdout}{step.stderr}")
