"""Who holds a claim, or files: the instance's lasting name, and the one process that is its present incarnation.

A worker that was killed and started again may end the leases of its own dead predecessor at once, instead of letting
its schedules wait for them. That is safe only when the predecessor is surely gone, which is judged here: the same
machine, boot and process namespace, and no process with that id and start time. Whatever cannot be judged so (another
machine, another container) is left to the lease.
"""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One process under an instance's name. Written as `<instance>#<place>/<pid>/<started>`."""

    instance: str
    place: str
    pid: int
    started: str

    @classmethod
    def current(cls, instance: str) -> Self:
        """This process."""
        return cls(instance, _place(), os.getpid(), _started(os.getpid()) or "")

    @classmethod
    def parse(cls, worker: str) -> Self | None:
        """Read a claim's `worker`; None for what no worker wrote (blocks, external claims)."""
        instance, _, rest = worker.rpartition("#")
        parts = rest.split("/")
        if len(parts) != 3 or not parts[1].isdigit():
            return None
        return cls(instance, parts[0], int(parts[1]), parts[2])

    def __str__(self) -> str:
        return f"{self.instance}#{self.place}/{self.pid}/{self.started}"

    def is_surely_dead(self) -> bool:
        """Whether this process is known to be gone. False also means: cannot be told from here."""
        if self.place != _place():
            return False
        started = _started(self.pid)
        return started is None or started != self.started


def _place() -> str:
    """The machine since its last boot, and the process namespace in it: where a process id means one process."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    namespace = Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    return f"{socket.gethostname()}-{boot[:8]}-{namespace}"


def _started(pid: int) -> str | None:
    """When that process started, in hundredths of a second; None when there is none (a zombie counts as none)."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return None
