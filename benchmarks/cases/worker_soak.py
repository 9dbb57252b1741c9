"""Whether a busy worker grows: 4,000 no-op and 4 forked runs a second for a long time. Opt-in: BENCH_SOAK_SECONDS=600.

Memory, file descriptors and threads of the worker and of its fork server, processes and temporary files: the last third
beside the first. BENCH_SOAK_RATE, BENCH_SOAK_FORKED: other rates.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.due_runs import DueRuns
from benchmarks.plug_in import plug_in
from benchmarks.reading import metrics_page
from benchmarks.servers import BenchServers

NAME = "worker_soak"
WARM_SECONDS = 30
SAMPLE_SECONDS = 5
_TURNS = 10
"""Portions into which a second's runs are cut."""
_COUNT = re.compile(r'^commandcenter_run_duration_seconds_count\{.*?task_type="(\w+)".*?\} ([0-9.e+]+)$', re.MULTILINE)


class Sample(NamedTuple):
    """The worker at one moment."""

    worker_mib: float
    fork_server_mib: float
    descriptors: int
    threads: int
    processes: int
    temporary_files: int


def run(servers: BenchServers) -> dict[str, float]:
    """Each quantity's mean in the first and in the last third; nothing without BENCH_SOAK_SECONDS."""
    seconds = int(os.environ.get("BENCH_SOAK_SECONDS", "0"))
    if not seconds:
        print("  not measured: set BENCH_SOAK_SECONDS=600")
        return {}
    rate, forked = int(os.environ.get("BENCH_SOAK_RATE", "4000")), int(os.environ.get("BENCH_SOAK_FORKED", "4"))
    due = DueRuns(servers, "noop", "forked")
    over = threading.Event()
    feeding = threading.Thread(target=_feed, args=(due, rate, forked, over))
    settings = {"PYTHONPATH": plug_in(servers.home), "COMMANDCENTER_WORKER_TASK_TYPES": "noop,forked"}
    with servers.service("worker", **settings) as url:
        worker = _worker()
        scratch = _scratch(worker)
        feeding.start()
        time.sleep(WARM_SECONDS)
        began, before = time.monotonic(), _ended(url)
        samples: list[Sample] = []
        while time.monotonic() - began < seconds:
            samples.append(_sample(worker, scratch))
            time.sleep(SAMPLE_SECONDS)
        elapsed, after = time.monotonic() - began, _ended(url)
        over.set()
        feeding.join()
    third = len(samples) // 3
    return {
        "seconds": elapsed,
        "noop_per_second": (after["noop"] - before["noop"]) / elapsed,
        "forked_per_second": (after["forked"] - before["forked"]) / elapsed,
        **_told("first", samples[:third]),
        **_told("last", samples[-third:]),
        "worker_mib_ratio": _mean(samples[-third:], 0) / _mean(samples[:third], 0),
        "fork_server_mib_ratio": _mean(samples[-third:], 1) / _mean(samples[:third], 1),
    }


def _feed(due: DueRuns, rate: int, forked: int, over: threading.Event) -> None:
    turn, began = 0, time.monotonic()
    while not over.wait(max(0.0, began + turn / _TURNS - time.monotonic())):
        turn += 1
        due.publish("noop", rate // _TURNS)
        if turn * forked // _TURNS > (turn - 1) * forked // _TURNS:
            due.publish("forked", 1)
    due.flush()


def _worker() -> psutil.Process:
    (worker,) = [one for one in psutil.Process().children(recursive=True) if _runs(one, "-m services.worker")]
    return worker


def _runs(process: psutil.Process, words: str) -> bool:
    try:
        return words in " ".join(process.cmdline())
    except psutil.Error:
        return False  # it has just ended


def _scratch(worker: psutil.Process) -> Path:
    """Its folder for temporary files, by the lock that it holds in there."""
    return next(Path(held.path).parent for held in worker.open_files() if Path(held.path).name == "owner")


def _sample(worker: psutil.Process, scratch: Path) -> Sample:
    (fork_server,) = [one for one in worker.children() if _runs(one, "forkserver")]
    ours = (worker, fork_server)
    return Sample(
        worker.memory_info().rss / (1 << 20),
        fork_server.memory_info().rss / (1 << 20),
        sum(one.num_fds() for one in ours),
        sum(one.num_threads() for one in ours),
        len(worker.children(recursive=True)),
        sum(1 for _ in scratch.rglob("*")),
    )


def _ended(url: str) -> dict[str, float]:
    """Attempts that have ended, by task type."""
    counts = {"noop": 0.0, "forked": 0.0}
    for task_type, count in _COUNT.findall(metrics_page(url)):
        counts[task_type] += float(count)
    return counts


def _told(third: str, samples: Sequence[Sample]) -> dict[str, float]:
    return {f"{name}_{third}": _mean(samples, at) for at, name in enumerate(Sample._fields)}


def _mean(samples: Sequence[Sample], column: int) -> float:
    return sum(sample[column] for sample in samples) / len(samples)
