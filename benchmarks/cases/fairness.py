"""Another project's delay while one project has 50,000 schedules due, again and again.

The other has ten schedules of one second each; the delay is from the occurrence to its arrival at a consumer.
"""

from __future__ import annotations

import time

from benchmarks.dispatching import Ledger, standby
from benchmarks.reading import Arrivals, percentile
from benchmarks.servers import BenchServers
from shared.events.topics import FIXED, runs_due
from shared.kafka.topics import ensure_topics

NAME = "fairness"
BACKLOG = 50_000
ROUNDS = 8
OTHERS = 10
_OTHERS = """
WITH made AS (
    INSERT INTO schedules (project_id, name, task_type, frequency, interval_seconds, overlap_policy, catchup_policy)
    SELECT 2, 'other ' || i, 'analysis', 'interval', 1, 'allow', 'all' FROM generate_series(1, %(others)s) AS i
    RETURNING id
)
INSERT INTO schedule_timers (schedule_id, project_id, next_run_at)
SELECT id, 2, date_trunc('second', now()) + interval '2 s' FROM made RETURNING schedule_id
"""


def run(servers: BenchServers) -> dict[str, float]:
    """The other project's percentiles over all rounds."""
    ledger = Ledger(servers)
    ledger.seed(4 * BACKLOG)
    ledger.run("INSERT INTO projects (id, name) VALUES (2, 'other') ON CONFLICT DO NOTHING")
    topics = (*FIXED, runs_due("analysis"))
    ensure_topics(servers.kafka_bootstrap_servers, servers.topic_prefix, topics, partitions=6, replication=1)
    with standby(servers, ledger):
        ledger.release_lease()
        arrivals = Arrivals(servers, "analysis")
        others = {row[0] for row in ledger.run(_OTHERS, others=OTHERS)}
        busy: list[tuple[float, float]] = []
        for _ in range(ROUNDS):
            ledger.run("TRUNCATE jobs")
            began = time.time()
            ledger.make_due(BACKLOG, settle=False, among="project_id = 1")
            while ledger.number("SELECT count(*) FROM schedule_timers WHERE project_id = 1 AND next_run_at <= now()"):
                time.sleep(0.05)
            busy.append((began, time.time()))
        time.sleep(2)
        arrivals.close()
    delays = [
        arrived - due
        for schedule, due, arrived in arrivals.seen
        if schedule in others and any(first <= due <= last for first, last in busy)
    ]
    return {
        "p50_ms": 1000 * percentile(delays, 0.50),
        "p99_ms": 1000 * percentile(delays, 0.99),
        "max_ms": 1000 * max(delays),
        "measured": len(delays),
        "backlog_seconds": sum(last - first for first, last in busy),
    }
