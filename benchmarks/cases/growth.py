"""What a dispatch costs with 10,000 to 5,000,000 schedules stored, the same number of them due each time.

Herds of 10,000, chosen by chance: of 10,000 stored all, of 5,000,000 one in five hundred. A herd's time runs from the
leader's taking of the lease to the last acknowledgement; the median of all counts. BENCH_SIZES: other sizes, with
commas between.
"""

from __future__ import annotations

import os
import statistics

from benchmarks.dispatching import Ledger, fire, standby
from benchmarks.processes import cpu_seconds, running
from benchmarks.servers import BenchServers

NAME = "growth"
SIZES = "10000,100000,1000000,5000000"
DUE = 10_000
HERDS = 7
# What earlier herds have claimed falls due again at its own minute: not beside this one.
_LATER = """
UPDATE schedule_timers SET next_run_at = next_run_at + interval '1 day' WHERE next_run_at < now() + interval '1 hour'
"""


def run(servers: BenchServers) -> dict[str, float]:
    """Dispatches a second and CPU for each size; `growth`: the dearest size's time over the smallest size's."""
    sizes = [int(size) for size in os.environ.get("BENCH_SIZES", SIZES).split(",")]
    ledger = Ledger(servers)
    metrics: dict[str, float] = {"due": DUE}
    seconds = []
    with standby(servers, ledger):
        for stored in sizes:
            ledger.forget_runs()
            ledger.seed(stored)
            if stored == sizes[0]:
                _herd(servers, ledger)  # the first finds empty caches and makes the topic
            herds = [_herd(servers, ledger) for _ in range(HERDS)]
            seconds.append(statistics.median(took for took, _ in herds))
            metrics[f"stored_{stored}_per_second"] = DUE / seconds[-1]
            print(f"  {stored} stored: {DUE / seconds[-1]:,.0f} a second", flush=True)
            metrics[f"stored_{stored}_cpu_us"] = 1e6 * statistics.median(cpu for _, cpu in herds) / DUE
    metrics["growth"] = max(seconds) / seconds[0]
    metrics["cpu_growth"] = max(metrics[f"stored_{stored}_cpu_us"] for stored in sizes)
    metrics["cpu_growth"] /= metrics[f"stored_{sizes[0]}_cpu_us"]
    return metrics


def _herd(servers: BenchServers, ledger: Ledger) -> tuple[float, float]:
    """Seconds, and CPU seconds of dispatcher and PostgreSQL together, until a herd is out."""
    ledger.hold_lease()
    ledger.forget_runs()
    ledger.run(_LATER)
    ledger.make_due(DUE)
    before = _used(servers)
    fire(ledger, DUE)
    return ledger.seconds_led(), _used(servers) - before


def _used(servers: BenchServers) -> float:
    return cpu_seconds(servers.postgres.pid) + cpu_seconds(running("dispatcher").pid)
