"""Ends what a benchmark has started when the benchmark itself is gone: killed, it cannot clean up.

`python -m benchmarks.watch <pid> <home>` runs beside each case. Everything a case starts has the case's home, a fresh
folder, in its command line or as its COMMANDCENTER_HOME; that is how it is found.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import psutil

LOOK_SECONDS = 0.5
GRACE_SECONDS = 8.0


def main(owner: int, home: Path) -> int:
    """Wait until the case is over, which takes its home away, or its owner is gone, which leaves it; returns 0."""
    while home.exists() and _alive(owner):
        time.sleep(LOOK_SECONDS)
    if home.exists():
        started = _started_in(home)
        for process in started:
            _end(process)
        for process in _still_alive(started):
            _end(process, by_force=True)
        _still_alive(started)
        shutil.rmtree(home, ignore_errors=True)
    return 0


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _still_alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended after the grace."""
    deadline = time.monotonic() + GRACE_SECONDS
    while (alive := [process for process in processes if _alive(process.pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return alive


def _started_in(home: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            theirs = process.environ().get("COMMANDCENTER_HOME") == str(home)
            if process.pid != psutil.Process().pid and (theirs or str(home) in " ".join(process.cmdline())):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # gone, or another user's: not started by this case
    return found


def _end(process: psutil.Process, *, by_force: bool = False) -> None:
    try:
        if by_force:
            process.kill()
        else:
            process.resume()  # one that a fault has stopped would not hear
            process.terminate()
    except psutil.NoSuchProcess:
        return  # it went by itself


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2])))
