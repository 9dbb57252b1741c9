"""What a dispatcher and its PostgreSQL use while a million schedules are stored and none is due: share of a core."""

from __future__ import annotations

import os
import time

import psutil

from benchmarks.dispatching import Ledger, standby
from benchmarks.servers import BenchServers

NAME = "idle"
SECONDS = 60
SETTLE = 20
"""Seconds until vacuums and checkpoints of the loading are over."""


def run(servers: BenchServers) -> dict[str, float]:
    """Percent of one core, of both together and each."""
    ledger = Ledger(servers)
    ledger.seed(int(os.environ.get("BENCH_STORED", "1000000")))
    ledger.settle()
    with standby(servers, ledger):
        ledger.release_lease()
        time.sleep(SETTLE)
        before = _postgres(servers), _dispatcher(servers)
        time.sleep(SECONDS)
        after = _postgres(servers), _dispatcher(servers)
    postgres, dispatcher = ((b - a) / SECONDS * 100 for a, b in zip(before, after, strict=True))
    return {"core_percent": postgres + dispatcher, "postgres_percent": postgres, "dispatcher_percent": dispatcher}


def _postgres(servers: BenchServers) -> float:
    """CPU seconds of the server and its backends, ended ones included."""
    server = psutil.Process(servers.postgres.pid)
    times = [process.cpu_times() for process in (server, *server.children(recursive=True))]
    own = server.cpu_times()
    return sum(t.user + t.system for t in times) + own.children_user + own.children_system


def _dispatcher(servers: BenchServers) -> float:
    (process,) = [
        child
        for child in psutil.Process().children(recursive=True)
        if "services.dispatcher" in " ".join(child.cmdline())
    ]
    times = process.cpu_times()
    return times.user + times.system
