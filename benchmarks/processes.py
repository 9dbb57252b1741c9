"""The processes of a case, and what they have used."""

from __future__ import annotations

import psutil


def running(service: str) -> psutil.Process:
    """The one process of a service that this case has started."""
    (process,) = [
        child for child in psutil.Process().children(recursive=True) if f"services.{service}" in child.cmdline()
    ]
    return process


def cpu_seconds(pid: int) -> float:
    """CPU seconds, user and system, of a process and all it has started, ended ones included."""
    process = psutil.Process(pid)
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    own = process.cpu_times()
    return float(sum(t.user + t.system for t in times) + own.children_user + own.children_system)
