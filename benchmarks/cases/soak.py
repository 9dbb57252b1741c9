"""Whether anything grows: 2,000 dispatches a second for a long time. Opt-in: BENCH_SOAK_SECONDS=1800.

20,000 schedules of ten seconds each, 2,000 of them due at each second. Memory, dead tuples, index sizes and the p99
delay of the last third over the first's. Dead tuples rise and fall with every vacuum, ten seconds apart: means of
samples a second apart are compared. Nobody runs the jobs: they stay open, ever more of them. BENCH_SOAK_RUN=1: a worker
runs them and health records them.

A herd's delay is the work it takes, so it follows the machine's speed, which on a shared host changes within minutes:
`machine_ratio` tells what a fixed piece of work took in the last third over the first's. Nothing is corrected by it.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack

import psutil

from benchmarks.dispatching import Ledger, standby
from benchmarks.plug_in import plug_in
from benchmarks.processes import running
from benchmarks.reading import Arrivals, percentile
from benchmarks.servers import BenchServers
from shared.events.topics import FIXED, runs_due
from shared.kafka.topics import ensure_topics

NAME = "soak"
SCHEDULES = 20_000
EVERY = 10
SAMPLE_SECONDS = 1
LAST_ARRIVALS_SECONDS = 5
PIECE_OF_WORK = 100_000
# An interval's occurrences are counted from its start: were that the same for all, so would be every later instant.
_SEED = """
WITH made AS (
    INSERT INTO schedules (project_id, name, task_type, frequency, interval_seconds, overlap_policy, start_time)
    SELECT 1, 'soak ' || i, 'noop', 'interval', %(every)s, 'allow',
        '2026-01-01 00:00+00'::timestamptz + i %% %(every)s * interval '1 second'
    FROM generate_series(1, %(count)s) AS i
    RETURNING id, start_time
)
INSERT INTO schedule_timers (schedule_id, project_id, next_run_at)
SELECT id, 1, start_time + ceil(extract(epoch FROM now() - start_time + interval '5 s') / %(every)s) * %(every)s
    * interval '1 second' FROM made
"""
_TABLES = "('schedule_timers', 'outbox', 'leases')"
Sample = tuple[float, float, float, float]


def run(servers: BenchServers) -> dict[str, float]:
    """Ratios of the last third to the first; nothing without BENCH_SOAK_SECONDS."""
    seconds = int(os.environ.get("BENCH_SOAK_SECONDS", "0"))
    if not seconds:
        print("  not measured: set BENCH_SOAK_SECONDS=1800")
        return {}
    ledger = Ledger(servers)
    topics = (*FIXED, runs_due("noop"))
    ensure_topics(servers.kafka_bootstrap_servers, servers.topic_prefix, topics, partitions=6, replication=1)
    ledger.run(_SEED, every=EVERY, count=SCHEDULES)
    ledger.settle()
    with ExitStack() as services:
        services.enter_context(standby(servers, ledger))
        if os.environ.get("BENCH_SOAK_RUN"):
            services.enter_context(servers.service("health"))
            plugged = {"PYTHONPATH": plug_in(servers.home), "COMMANDCENTER_WORKER_TASK_TYPES": "noop"}
            services.enter_context(servers.service("worker", **plugged))
        ledger.release_lease()
        arrivals = Arrivals(servers, "noop")
        time.sleep(30)  # caches fill, libraries settle
        process = running("dispatcher")
        began = time.time()
        samples: list[Sample] = []
        while time.time() - began < seconds:
            samples.append(_sample(ledger, process))
            time.sleep(SAMPLE_SECONDS)
        time.sleep(LAST_ARRIVALS_SECONDS)
        arrivals.close()
    third = len(samples) // 3
    first, last = samples[:third], samples[-third:]
    ratios = {
        f"{name}_ratio": _mean(last, column) / max(1.0, _mean(first, column))
        for column, name in enumerate(("memory", "dead_tuples", "index_size", "machine"))
    }
    delays = [(due - began, arrived - due) for _, due, arrived in arrivals.seen if 0 <= due - began < seconds]
    early = [delay for at, delay in delays if at < seconds / 3]
    late = [delay for at, delay in delays if at >= 2 * seconds / 3]
    if not late:
        raise RuntimeError("nothing of the last third has arrived: the dispatcher does not keep up here")
    return {
        **ratios,
        "p99_ratio": percentile(late, 0.99) / percentile(early, 0.99),
        "p99_first_ms": 1000 * percentile(early, 0.99),
        "p99_last_ms": 1000 * percentile(late, 0.99),
        "per_second": len(delays) / seconds,
        "seconds": seconds,
    }


def _sample(ledger: Ledger, dispatcher: psutil.Process) -> Sample:
    """Resident bytes of the dispatcher, dead tuples, bytes of indexes (of the tables whose size should not grow), and
    nanoseconds of CPU time for a fixed piece of work."""
    dead = ledger.number(f"SELECT coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables WHERE relname IN {_TABLES}")
    size = ledger.number(f"SELECT sum(pg_indexes_size(oid)) FROM pg_class WHERE relname IN {_TABLES}")
    began = time.thread_time_ns()
    sum(range(PIECE_OF_WORK))
    return float(dispatcher.memory_info().rss), float(dead), float(size), float(time.thread_time_ns() - began)


def _mean(samples: list[Sample], column: int) -> float:
    return sum(sample[column] for sample in samples) / len(samples)
