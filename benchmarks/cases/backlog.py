"""The rate with a million schedules due at once, in 1, in 100 and in 10,000 projects.

Everything stored is due. From the leader's taking of the lease to the last acknowledgement. BENCH_BACKLOG: another
number; BENCH_PROJECTS: other numbers of projects, with commas between.
"""

from __future__ import annotations

import os

from benchmarks.dispatching import THIS_MINUTE, Ledger, fire, standby
from benchmarks.servers import BenchServers

NAME = "backlog"
PROJECTS = "1,100,10000"


def run(servers: BenchServers) -> dict[str, float]:
    """Dispatches a second for each number of projects; `slowest_share`: the slowest's over the fastest's."""
    due = int(os.environ.get("BENCH_BACKLOG", "1000000"))
    numbers = [int(number) for number in os.environ.get("BENCH_PROJECTS", PROJECTS).split(",")]
    ledger = Ledger(servers)
    rates = {}
    with standby(servers, ledger):
        for projects in numbers:
            ledger.hold_lease()
            ledger.forget_schedules()
            ledger.seed(due, projects, at=THIS_MINUTE)
            ledger.settle()
            fire(ledger, due)
            rates[projects] = due / ledger.seconds_led()
            print(f"  in {projects} projects: {rates[projects]:,.0f} a second", flush=True)
    metrics = {f"projects_{projects}_per_second": rate for projects, rate in rates.items()}
    return {**metrics, "slowest_share": min(rates.values()) / max(rates.values()), "due": due}
