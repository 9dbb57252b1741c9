"""Other schedulers on this machine: fired a second, 10,000 due of 100,000 stored.

Their handlers do nothing, in the same process or as a message in Redis. What cannot run here is left out, and said.
db-scheduler at the dispatcher's own size stands beside it in the case `dispatch`.
"""

from __future__ import annotations

from benchmarks.peers import java_peers, python_peers
from benchmarks.servers import BenchServers

NAME = "peers"
STORED = 100_000
DUE = 10_000
PEERS = {
    "db_scheduler": java_peers.db_scheduler,
    "quartz": java_peers.quartz,
    "apscheduler": python_peers.apscheduler,
    "redbeat": python_peers.redbeat,
}


def run(servers: BenchServers) -> dict[str, float]:
    """Each peer's rate, of those that are there."""
    rates = {name: peer(servers, STORED, DUE) for name, peer in PEERS.items()}
    measured = {f"{name}_per_second": rate for name, rate in rates.items() if rate is not None}
    return {**measured, "stored": STORED, "due": DUE}
