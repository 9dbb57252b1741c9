"""How late a run.due reaches Kafka: at 100 due a second, of a herd of 100,000, and after a manual request.

The delay runs from the occurrence to its arrival at a consumer on the same machine, so it contains the acknowledgement
and a fetch; `acknowledged_in_…_ms` are the shares whose acknowledgement the dispatcher itself had in time, by its
metric. A million schedules are stored; the ones measured are due every 10 ms for 30 s. The herd's time runs from its
instant to the last acknowledgement. BENCH_STORED, BENCH_HERD (3,000 at least): other sizes.
"""

from __future__ import annotations

import os
import re
import time
from datetime import UTC, datetime

from benchmarks.dispatching import Ledger, await_done, standby
from benchmarks.reading import Arrivals, metrics_page, percentile
from benchmarks.servers import BenchServers
from shared.events.topics import FIXED, runs_due
from shared.kafka.topics import ensure_topics
from shared.storage.database import Database
from shared.storage.jobs import insert_manual

NAME = "delay"
SECONDS = 30
A_SECOND = 100
MANUAL_RUNS = 300
AHEAD = 4.0
"""Seconds between storing the instants and the first of them."""
_ACKNOWLEDGED = re.compile(
    r'^commandcenter_dispatch_delay_seconds_bucket\{le="(0\.005|0\.025|\+Inf)"\} (\S+)$', re.MULTILINE
)


def run(servers: BenchServers) -> dict[str, float]:
    """The percentiles and the herd."""
    stored = int(os.environ.get("BENCH_STORED", "1000000"))
    herd = int(os.environ.get("BENCH_HERD", "100000"))
    ledger = Ledger(servers)
    ledger.seed(stored)
    topics = (*FIXED, runs_due("analysis"))
    ensure_topics(servers.kafka_bootstrap_servers, servers.topic_prefix, topics, partitions=6, replication=1)
    with standby(servers, ledger) as url:
        ledger.release_lease()
        steady, shares = _steady(servers, ledger, url)
        manual = _manual(servers, ledger)
        ledger.forget_runs()
        begins = _herd_at(ledger, herd)
        took = await_done(ledger, herd, begins)
    return {
        "p50_ms": 1000 * percentile(steady, 0.50),
        "p99_ms": 1000 * percentile(steady, 0.99),
        "max_ms": 1000 * max(steady),
        "measured": len(steady),
        "acknowledged_in_5_ms": shares["0.005"],
        "acknowledged_in_25_ms": shares["0.025"],
        "manual_p99_ms": 1000 * percentile(manual, 0.99),
        "herd_seconds": took,
        "herd": herd,
    }


def _steady(servers: BenchServers, ledger: Ledger, url: str) -> tuple[list[float], dict[str, float]]:
    """Delays in seconds, and shares acknowledged in time. The first second warms up and does not count."""
    count = SECONDS * A_SECOND
    arrivals = Arrivals(servers, "analysis")
    first = int(time.time()) + AHEAD
    ledger.run(
        "UPDATE schedule_timers AS t SET next_run_at = to_timestamp(%(first)s + i / %(rate)s::float)"
        " FROM (SELECT schedule_id, row_number() OVER (ORDER BY hashint8(schedule_id)) AS i FROM schedule_timers"
        " ORDER BY hashint8(schedule_id) LIMIT %(count)s) AS chosen WHERE t.schedule_id = chosen.schedule_id",
        first=first,
        rate=A_SECOND,
        count=count,
    )
    ledger.settle()
    time.sleep(max(0.0, first + 1 - time.time()))
    before = _acknowledged(url)
    deadline = time.monotonic() + SECONDS + AHEAD + 10
    while len(arrivals.seen) < count and time.monotonic() < deadline:
        time.sleep(0.1)
    arrivals.close()
    if len(arrivals.seen) != count:
        raise RuntimeError(f"{len(arrivals.seen)} of {count} due schedules arrived")
    delays = [arrived - due for _, due, arrived in sorted(arrivals.seen, key=lambda seen: seen[1])[A_SECOND:]]
    return delays, _shares(before, _acknowledged(url))


def _acknowledged(url: str) -> dict[str, float]:
    """How many occurrences were acknowledged within so many seconds."""
    return {bound: float(count) for bound, count in _ACKNOWLEDGED.findall(metrics_page(url))}


def _shares(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Which share of those between them was acknowledged within so many seconds."""
    new = {bound: count - before[bound] for bound, count in after.items()}
    return {bound: count / new["+Inf"] for bound, count in new.items()}


def _manual(servers: BenchServers, ledger: Ledger) -> list[float]:
    """Seconds from a manual run's request to its arrival, by the api's own storage function."""
    database = Database(servers.database_url, application="bench")
    arrivals = Arrivals(servers, "analysis")
    schedule = ledger.number("SELECT min(id) FROM schedules")
    for _ in range(MANUAL_RUNS):
        with database.transaction() as connection:
            insert_manual(connection, schedule, datetime.now(UTC))
        time.sleep(0.02)
    deadline = time.monotonic() + 10
    while len(arrivals.seen) < MANUAL_RUNS and time.monotonic() < deadline:
        time.sleep(0.05)
    arrivals.close()
    database.close()
    return [arrived - due for _, due, arrived in arrivals.seen]


def _herd_at(ledger: Ledger, herd: int) -> float:
    """Make a herd due at one instant to come; returns the monotonic clock's reading of it."""
    at = int(time.time()) + 12
    ledger.make_due(herd, f"to_timestamp({at})")
    if time.time() > at:
        raise RuntimeError("the herd's instant had passed before it was stored")
    return time.monotonic() + at - time.time()
