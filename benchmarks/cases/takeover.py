"""How long nobody dispatches: after a kill of the leader, and after a graceful stop.

Each time two others stand by. After a kill: until the successor has stored a job for what falls due at that moment.
After a stop: until the successor holds the lease. BENCH_KILLS, BENCH_STOPS: other numbers.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from collections.abc import Callable

from benchmarks.dispatching import Ledger
from benchmarks.reading import percentile
from benchmarks.servers import BenchServers

NAME = "takeover"
STANDBYS = 2
_FALLS_DUE = """
UPDATE schedule_timers SET next_run_at = clock_timestamp()
WHERE schedule_id = (SELECT min(schedule_id) FROM schedule_timers WHERE last_claimed_for IS NULL) RETURNING schedule_id
"""
_HOLDER = "SELECT holder FROM leases WHERE name = 'dispatcher' AND expires_at > clock_timestamp()"


def run(servers: BenchServers) -> dict[str, float]:
    """Percentiles of both, in seconds."""
    kills = int(os.environ.get("BENCH_KILLS", "100"))
    stops = int(os.environ.get("BENCH_STOPS", "50"))
    ledger = Ledger(servers)
    ledger.seed(1_000)
    replicas = Replicas(servers, ledger)
    try:
        killed = [replicas.kill_leader() for _ in range(kills)]
        stopped = [replicas.stop_leader() for _ in range(stops)]
    finally:
        replicas.stop()
    return {
        "kill_p50_seconds": percentile(killed, 0.50),
        "kill_p99_seconds": percentile(killed, 0.99),
        "kill_max_seconds": max(killed),
        "kills": kills,
        "stop_p50_seconds": percentile(stopped, 0.50),
        "stop_p99_seconds": percentile(stopped, 0.99),
        "stop_max_seconds": max(stopped),
        "stops": stops,
    }


class Replicas:
    """A leader and its standbys; whoever is ended is replaced by a fresh one."""

    def __init__(self, servers: BenchServers, ledger: Ledger) -> None:
        self._servers = servers
        self._ledger = ledger
        self._names = (f"replica-{number}" for number in itertools.count())
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        for _ in range(1 + STANDBYS):
            self._start()
        _await(self._led)

    def _led(self) -> bool:
        """Whether one that still runs holds the lease."""
        return self._leader() in self._running

    def kill_leader(self) -> float:
        """kill -9 of the leader; seconds until its successor has dispatched what falls due then."""
        leader = self._leader_to_end()
        began = time.monotonic()
        leader.kill()
        ((schedule,),) = self._ledger.run(_FALLS_DUE)
        _await(lambda: self._ledger.number("SELECT count(*) FROM jobs WHERE schedule_id = %(id)s", id=schedule) > 0)
        return self._replaced(leader, began)

    def stop_leader(self) -> float:
        """SIGTERM for the leader; seconds until its successor holds the lease."""
        leader = self._leader_to_end()
        began = time.monotonic()
        leader.terminate()
        _await(self._led)
        return self._replaced(leader, began)

    def _leader_to_end(self) -> subprocess.Popen[bytes]:
        """The leader, once all its standbys are up."""
        _await(lambda: self._led() and self._all_look())
        return self._running.pop(self._leader())

    def _replaced(self, ended: subprocess.Popen[bytes], began: float) -> float:
        """Seconds until now; afterwards a fresh standby takes the place of the one that ended."""
        took = time.monotonic() - began
        ended.wait(20)
        self._start()
        return took

    def stop(self) -> None:
        """End all."""
        for process in self._running.values():
            process.kill()
            process.wait()

    def _start(self) -> None:
        name = next(self._names)
        self._running[name] = self._servers.start("dispatcher", 0, COMMANDCENTER_INSTANCE=name)

    def _leader(self) -> str:
        rows = self._ledger.run(_HOLDER)
        return str(rows[0][0]) if rows else ""

    def _all_look(self) -> bool:
        """Whether every replica looks at the lease."""
        connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dispatcher-leadership'"
        return self._ledger.number(connections) >= 1 + STANDBYS


def _await(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("no successor within half a minute")
        time.sleep(0.005)
