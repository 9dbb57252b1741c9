"""One PostgreSQL and one Kafka for a whole test session, started when the first test asks for them.

The test run (pytest, or the controller of pytest-xdist) owns a directory; its workers learn it from the environment.
Who needs a server first starts its holder (`tests/hold.py`) under a file lock; the run ends the holders.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg2

from deploy.local.server import wait_until
from deploy.local.settings import PROJECT_ROOT
from tests.hold import addresses_of

SESSION_VARIABLE = "COMMANDCENTER_TEST_SESSION"
START_TIMEOUT = 180.0
"""Seconds: a first start downloads Kafka."""
TEMPLATE = "commandcenter_template"


class TestServers:
    """The servers of this test session, seen from any of its processes."""

    __test__ = False

    def __init__(self, directory: Path, owner: int) -> None:
        self.directory = directory
        self._owner = owner

    @classmethod
    def open_session(cls) -> TestServers:
        """Called once by the test run itself, before its workers start."""
        directory = Path(tempfile.mkdtemp(prefix="commandcenter-tests-"))
        os.environ[SESSION_VARIABLE] = f"{os.getpid()}:{directory}"
        return cls(directory, os.getpid())

    @classmethod
    def join_session(cls) -> TestServers:
        """Called by a test process: the session it belongs to."""
        owner, _, directory = os.environ[SESSION_VARIABLE].partition(":")
        return cls(Path(directory), int(owner))

    def close_session(self) -> None:
        """End the servers and forget their data."""
        os.environ.pop(SESSION_VARIABLE, None)
        holders = [int(path.read_text()) for path in self.directory.glob("*.holder")]
        for pid in holders:
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                continue  # it ended by itself
        wait_until(lambda: not any(_alive(pid) for pid in holders), 20)
        shutil.rmtree(self.directory, ignore_errors=True)

    def postgres(self) -> dict[str, str]:
        """`admin_url`, and with a place for the database's name `database_url` (the services') and `owner_url`."""
        given = os.environ.get("COMMANDCENTER_TEST_DATABASE_URL")
        return addresses_of(given.replace("+psycopg2", "")) if given else self._server("postgres")

    def kafka(self) -> str:
        """The bootstrap servers."""
        given = os.environ.get("COMMANDCENTER_TEST_KAFKA_BOOTSTRAP_SERVERS")
        return given or self._server("kafka")["bootstrap_servers"]

    def _server(self, name: str) -> dict[str, str]:
        facts = self.directory / f"{name}.json"
        with self.lock(name):
            if not facts.exists():
                self._hold(name, facts)
        addresses: dict[str, str] = json.loads(facts.read_text())
        if "error" in addresses:
            raise RuntimeError(addresses["error"])
        return addresses

    def _hold(self, name: str, facts: Path) -> None:
        with (self.directory / f"{name}-holder.log").open("ab") as log:
            holder = subprocess.Popen(
                [sys.executable, "-m", "tests.hold", name, str(self.directory), str(self._owner)],
                cwd=PROJECT_ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (self.directory / f"{name}.holder").write_text(str(holder.pid))
        if not wait_until(lambda: facts.exists() or holder.poll() is not None, START_TIMEOUT):
            raise RuntimeError(f"the {name} of this test session did not start")
        if not facts.exists():
            raise RuntimeError((self.directory / f"{name}-holder.log").read_text()[-2000:])

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """One process of the session at a time."""
        with (self.directory / f"{name}.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def create_database(self, migrated: bool) -> str:
        """A database of its own for a test; returns what a service is given as COMMANDCENTER_DATABASE_URL."""
        addresses = self.postgres()
        template = self._template(addresses) if migrated else None
        return _create(addresses, f"test_{uuid.uuid4().hex[:12]}", template)

    def owner_url(self, url: str) -> str:
        """The same database for the owner of its tables."""
        return _owner_url(self.postgres(), url.rsplit("/", 1)[1])

    def drop_database(self, url: str) -> None:
        """Drop it, and cut whoever is still connected."""
        name = url.rsplit("/", 1)[1]
        _execute(self.postgres()["admin_url"], f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _template(self, addresses: dict[str, str]) -> str:
        """A database with all migrations, made once a session and then copied, which takes milliseconds."""
        name = f"{TEMPLATE}_{self._owner}"
        made = self.directory / "template.made"
        with self.lock("template"):
            if not made.exists():
                _execute(addresses["admin_url"], f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
                migrate(_create(addresses, name, None), _owner_url(addresses, name))
                made.touch()
        return name


def migrate(database_url: str, owner_url: str | None = None) -> None:
    """Run the migration step as the stack does. Raises with its output when it fails."""
    owner = {"COMMANDCENTER_MIGRATIONS_DATABASE_URL": owner_url} if owner_url else {}
    result = subprocess.run(
        [sys.executable, "-m", "migrations"],
        cwd=PROJECT_ROOT,
        env={**os.environ, "COMMANDCENTER_DATABASE_URL": database_url, **owner},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise RuntimeError(f"the migration step failed:\n{result.stdout}{result.stderr}")


def _create(addresses: dict[str, str], name: str, template: str | None) -> str:
    copied = f' TEMPLATE "{template}"' if template else ""
    _execute(addresses["admin_url"], f'CREATE DATABASE "{name}" OWNER "{_user(addresses["owner_url"])}"{copied}')
    return addresses["database_url"].format(database=name)


def _owner_url(addresses: dict[str, str], name: str) -> str:
    return addresses["owner_url"].format(database=name)


def _user(url: str) -> str:
    return url.partition("://")[2].partition("@")[0].partition(":")[0]


def _execute(admin_url: str, statement: str) -> None:
    connection = psycopg2.connect(admin_url)
    try:
        connection.autocommit = True  # databases are not created or dropped inside a transaction
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
