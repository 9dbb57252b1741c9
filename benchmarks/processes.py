"""The processes of a case, and what they have used."""

from __future__ import annotations

import psutil


def running(service: str) -> psutil.Process:
    """The one process of a service that this case has started."""
    (process,) = [
        child for child in psutil.Process().children(recursive=True) if f"services.{service}" in _words(child)
    ]
    return process


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []  # ended meanwhile, such as a worker of PostgreSQL's


def cpu_seconds(pid: int) -> float:
    """CPU seconds, user and system, of a process and all it has started, ended ones included."""
    process = psutil.Process(pid)
    seconds = 0.0
    for child in process.children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue  # ended meanwhile: it is among its parent's ended ones now
        seconds += times.user + times.system
    own = process.cpu_times()
    return float(seconds + own.user + own.system + own.children_user + own.children_system)
