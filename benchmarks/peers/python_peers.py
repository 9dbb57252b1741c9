"""The peers in Python. Their packages are not in our lock: BENCH_PEERS_PYTHON names an interpreter that has them.

APScheduler needs apscheduler, sqlalchemy and psycopg2-binary; RedBeat needs celery, celery-redbeat and redis, and a
redis-server on the path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.servers import BenchServers
from deploy.local.ports import free_ports
from deploy.local.server import Launch, spawn, wait_until

PROGRAMS = Path(__file__).with_name("python")


def apscheduler(servers: BenchServers, stored: int, due: int) -> float | None:
    """Jobs fired a second with so many stored and due; None, said aloud, where it cannot be measured."""
    if not _has("APScheduler", "apscheduler"):
        return None
    return _burst("apscheduler", servers.new_database(), stored, due)


def redbeat(servers: BenchServers, stored: int, due: int) -> float | None:
    """Messages put into Redis a second by Celery beat with RedBeat."""
    if not _has("RedBeat", "redbeat"):
        return None
    if shutil.which("redis-server") is None:
        print("  RedBeat is not measured: redis-server not found")
        return None
    with _redis(servers) as url:
        return _burst("redbeat", url, stored, due)


def _python() -> str:
    return os.environ.get("BENCH_PEERS_PYTHON", sys.executable)


def _has(name: str, module: str) -> bool:
    found = subprocess.run([_python(), "-c", f"import {module}"], capture_output=True, check=False).returncode == 0
    if not found:
        print(f"  {name} is not measured: {module} is not installed (BENCH_PEERS_PYTHON: an interpreter that has it)")
    return found


def _burst(name: str, url: str, stored: int, due: int) -> float | None:
    command = [_python(), str(PROGRAMS / f"{name}_burst.py"), url, str(stored), str(due)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        print(f"  {name} is not measured: {result.stderr.strip()[-300:]}")
        return None
    return float(result.stdout.split()[-1])


@contextmanager
def _redis(servers: BenchServers) -> Iterator[str]:
    """A Redis that writes what it is told to its log once a second, as Celery's brokers mostly do."""
    (port,) = free_ports(1)
    home = servers.home / "redis"
    home.mkdir(exist_ok=True)
    options = {
        "bind": "127.0.0.1",
        "port": port,
        "dir": home,
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
    }
    arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    process = spawn(Launch("redis", ("redis-server", *arguments), home / "redis.log"))
    try:
        ping = ["redis-cli", "-p", str(port), "ping"]
        wait_until(lambda: subprocess.run(ping, capture_output=True, check=False).returncode == 0, 10)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(10)
