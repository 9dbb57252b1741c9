"""Due schedules dispatched a second: jobs stored, next instants stored, run.due acknowledged by Kafka.

A million cron schedules in 50 zones with 2,000 expressions (32,000 pairs), 100,000 of them due, everything durable;
four herds by one dispatcher, of which the first finds its caches empty; the median of all counts. db-scheduler follows
on the same PostgreSQL where Maven is there. BENCH_STORED and BENCH_DUE: other sizes. BENCH_SCALE=1: also the cost at
10,000 and at five times the stored schedules, and a backlog of a million in 1, 100 and 10,000 projects (minutes).
"""

from __future__ import annotations

import os
import statistics

from benchmarks.dispatching import Ledger, fire, standby
from benchmarks.peers import java_peers
from benchmarks.servers import BenchServers

NAME = "dispatch"
HERDS = 4


def run(servers: BenchServers) -> dict[str, float]:
    """The rate and the peer's."""
    stored = int(os.environ.get("BENCH_STORED", "1000000"))
    due = int(os.environ.get("BENCH_DUE", "100000"))
    ledger = Ledger(servers)
    ledger.seed(stored)
    rates = _rates(servers, ledger, due)
    metrics = {
        "per_second": statistics.median(rates),
        "first_per_second": rates[0],
        "lowest_per_second": min(rates),
        "stored": stored,
        "due": due,
    }
    peer = java_peers.db_scheduler(servers, stored, due)
    if peer is not None:
        metrics["db_scheduler_per_second"] = peer
        metrics["times_db_scheduler"] = metrics["per_second"] / peer
    return metrics


def _rates(servers: BenchServers, ledger: Ledger, due: int) -> list[float]:
    """Herds dispatched a second, one after another, by one process."""
    rates = []
    with standby(servers, ledger):
        for _ in range(HERDS):
            ledger.hold_lease()
            ledger.forget_runs()
            ledger.make_due(due)
            rates.append(due / fire(ledger, due))
    return rates
