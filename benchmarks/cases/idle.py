"""What a dispatcher and its PostgreSQL use while a million schedules are stored and none is due: share of a core."""

from __future__ import annotations

import os
import time

from benchmarks.dispatching import Ledger, standby
from benchmarks.processes import cpu_seconds, running
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
        before = _used(servers)
        time.sleep(SECONDS)
        after = _used(servers)
    postgres, dispatcher = ((b - a) / SECONDS * 100 for a, b in zip(before, after, strict=True))
    return {"core_percent": postgres + dispatcher, "postgres_percent": postgres, "dispatcher_percent": dispatcher}


def _used(servers: BenchServers) -> tuple[float, float]:
    return cpu_seconds(servers.postgres.pid), cpu_seconds(running("dispatcher").pid)
