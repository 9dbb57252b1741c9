"""Holds one server for a whole test session, shared by its parallel workers.

`python -m tests.hold postgres|kafka <directory> <pid>` starts the server in that directory, writes
`<directory>/<name>.json` with its addresses once it is ready, and stops it on SIGTERM or when the watched process (the
test run) is gone: a test run that is killed leaves no server behind.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil

from deploy.local.errors import StackError
from deploy.local.kafka import KafkaServer
from deploy.local.ports import free_ports
from deploy.local.postgres import OWNER, ROLE, PostgresServer
from deploy.local.settings import read_settings

Addresses = dict[str, str]


def main(name: str, directory: Path, watched: int) -> int:
    """Hold the server until told to stop; returns the exit code."""
    ended = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the test run, which then ends us
    containers = os.environ.get("COMMANDCENTER_TEST_STACK") == "containers"
    holders = {"postgres": (_postgres, _postgres_container), "kafka": (_kafka, _kafka_container)}
    try:
        with holders[name][containers](directory / name) as addresses:
            _publish(directory / f"{name}.json", addresses)
            while not ended.wait(0.5) and psutil.pid_exists(watched):
                continue
    except StackError as error:
        _publish(directory / f"{name}.json", {"error": str(error)})
        return 1
    return 0


@contextmanager
def _postgres(directory: Path) -> Iterator[Addresses]:
    with PostgresServer(directory, free_ports(1)[0], shared_buffers="128MB") as server:
        at = f"127.0.0.1:{server.port}/{{database}}"
        yield {
            "admin_url": server.admin_url,
            "database_url": f"postgresql+psycopg2://{ROLE}@{at}",
            "owner_url": f"postgresql+psycopg2://{OWNER}@{at}",
        }


@contextmanager
def _kafka(directory: Path) -> Iterator[Addresses]:
    cache = read_settings(os.environ).cache
    with KafkaServer(directory, free_ports(2)[0], cache=cache, heap="384m") as server:
        yield {"bootstrap_servers": server.bootstrap_servers}


@contextmanager
def _postgres_container(_directory: Path) -> Iterator[Addresses]:
    from testcontainers.postgres import PostgresContainer

    with PostgresContainer("postgres:18", driver=None) as container:
        admin_url = container.get_connection_url()
        yield addresses_of(admin_url)


@contextmanager
def _kafka_container(_directory: Path) -> Iterator[Addresses]:
    from testcontainers.kafka import KafkaContainer

    with KafkaContainer().with_kraft() as container:
        yield {"bootstrap_servers": container.get_bootstrap_server()}


def addresses_of(admin_url: str) -> Addresses:
    """The addresses of a PostgreSQL that is not ours: its one user owns the tables, the migrations make the other."""
    server = admin_url.rsplit("/", 1)[0].partition("://")[2]
    at = f"{server.rpartition('@')[2]}/{{database}}"
    return {
        "admin_url": admin_url,
        "database_url": f"postgresql+psycopg2://{ROLE}:{ROLE}@{at}",
        "owner_url": f"postgresql+psycopg2://{server}/{{database}}",
    }


def _publish(path: Path, facts: Addresses) -> None:
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(facts), encoding="utf-8")
    scratch.replace(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
