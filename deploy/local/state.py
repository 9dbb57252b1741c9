"""What the supervisor tells the command line: one JSON file, and one lock that says whether the supervisor lives."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any


@dataclass
class ProcessState:
    """One supervised process as the supervisor sees it."""

    pid: int | None = None
    restarts: int = 0
    """Times it was started again since the stack was started."""
    last_end: str = ""
    """How it last ended: `killed by SIGKILL`, `exit code 1`."""


@dataclass
class StackState:
    """The content of `stack.json`."""

    supervisor: int
    phase: str = "starting"
    """What the supervisor is doing, for people; `running` once all processes were started."""
    failure: str = ""
    """Why the start failed: one sentence."""
    ports: dict[str, int] = field(default_factory=dict)
    host: str = "127.0.0.1"
    processes: dict[str, ProcessState] = field(default_factory=dict)


def write_state(home: Path, state: StackState) -> None:
    """Replace the file as a whole: a reader never sees half of it."""
    path = home / "stack.json"
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(asdict(state), indent=1), encoding="utf-8")
    scratch.replace(path)


def read_state(home: Path) -> StackState | None:
    """The last state written, whoever wrote it; None when there is none."""
    try:
        content: Mapping[str, Any] = json.loads((home / "stack.json").read_text(encoding="utf-8"))
        processes = {name: ProcessState(**process) for name, process in content["processes"].items()}
        return StackState(**{**content, "processes": processes})
    except (OSError, ValueError, TypeError, KeyError):
        return None  # not there, or of another version: as good as not there


def try_lock(path: Path) -> IO[str] | None:
    """Hold a lock until the returned file is closed or we die; None when somebody else holds it.

    The operating system gives it back when its holder dies, however it dies.
    """
    handle = path.open("a", encoding="ascii")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    return handle


def wait_lock(path: Path) -> IO[str]:
    """The same, waiting until it is free."""
    handle = path.open("a", encoding="ascii")
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def supervisor_lives(home: Path) -> bool:
    """Whether a supervisor works for this home now."""
    if not (home / "supervisor.lock").exists():
        return False
    handle = try_lock(home / "supervisor.lock")
    if handle is None:
        return True
    handle.close()
    return False
