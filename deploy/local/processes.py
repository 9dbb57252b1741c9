"""The processes of one stack: how they are marked, recognised and recorded.

A process id alone proves nothing: the number may have been given to somebody else's process since. Every process of a
stack carries the stack's home in its environment, which it also hands to its children; only what carries it is ended.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import psutil

from deploy.local.postgres import end_orphans
from deploy.local.server import wait_until

MARKER_HOME = "COMMANDCENTER_STACK_HOME"
MARKER_NAME = "COMMANDCENTER_STACK_PROCESS"


def marks(home: Path, name: str) -> dict[str, str]:
    """What the environment of a process of this stack carries."""
    return {MARKER_HOME: str(home), MARKER_NAME: name}


def leftovers(home: Path, name: str | None = None) -> list[psutil.Process]:
    """The living processes of this stack (of one of its names), ourselves left out."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            environment = process.environ()
            marked = environment.get(MARKER_HOME) == str(home) and name in {None, environment.get(MARKER_NAME)}
            if marked and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue  # gone meanwhile, or another user's: not a process of this stack
    return found


def end(processes: Sequence[psutil.Process], grace: float = 5.0) -> None:
    """Ask these processes to end, then make them."""
    for process in processes:
        _send(process, signal.SIGCONT)
        _send(process, signal.SIGTERM)
    _, stubborn = psutil.wait_procs(processes, timeout=grace)
    for process in stubborn:
        _send(process, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=grace)


def sweep(home: Path) -> int:
    """End everything a dead supervisor left behind; returns how many processes that were."""
    found = leftovers(home)
    servers = [process for process in found if _name(process) in {"kafka", "postgres"}]
    end([process for process in found if process not in servers])
    for server in servers:
        if _name(server) == "postgres":
            _send(server, signal.SIGINT)  # fast shutdown: SIGTERM would wait for its clients
    end(servers, grace=15)
    if (home / "postgres" / "data").exists():
        end_orphans(home / "postgres" / "data")
    wait_until(lambda: not leftovers(home), 5)
    for path in (home / "pids").glob("*.pid"):
        path.unlink(missing_ok=True)
    return len(found)


def record_pid(home: Path, name: str, pid: int | None) -> None:
    """Write `pids/<name>.pid`, whole or not at all; None removes it."""
    path = home / "pids" / f"{name}.pid"
    if pid is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".tmp")
    scratch.write_text(f"{pid}\n", encoding="ascii")
    scratch.replace(path)


def _name(process: psutil.Process) -> str:
    try:
        return str(process.environ().get(MARKER_NAME, ""))
    except (psutil.Error, OSError):
        return ""  # it ended meanwhile


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        pass  # it ended by itself; psutil has checked that the pid is still the same process
