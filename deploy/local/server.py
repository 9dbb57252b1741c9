"""One server process of the local stack, and how tests and benchmarks hold it.

The supervisor takes only the `Launch` and keeps the process itself; tests use a server as a context manager and may
kill, pause and restart it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

from deploy.local.errors import StackError
from deploy.local.settings import PROJECT_ROOT


@dataclass(frozen=True)
class Launch:
    """How one process is started."""

    name: str
    command: tuple[str, ...]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the caller's environment."""
    user: tuple[int, int] | None = None
    """User and group id to run as, where root may not (PostgreSQL)."""
    stop_signal: signal.Signals = signal.SIGTERM
    """What asks this process to end cleanly."""


def spawn(launch: Launch) -> subprocess.Popen[bytes]:
    """Start the process in a session of its own, its output appended to its log.

    The log is opened for appending and handed over whole: no pipe, so a dead supervisor takes no process with it, and
    the log can be cut while it is written.
    """
    launch.log.parent.mkdir(parents=True, exist_ok=True)
    user, group = launch.user or (None, None)
    with launch.log.open("ab") as log:
        return subprocess.Popen(
            launch.command,
            cwd=PROJECT_ROOT if user is None else "/",
            env={**os.environ, **launch.environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
            group=group,
            extra_groups=None if user is None else [],
        )


# What programs of this stack write when they cannot go on; what follows such a line is mostly clean-up.
GRAVE = ("FATAL", "PANIC", " ERROR ")


def last_line(log: Path) -> str:
    """The last line of a log that says why a process ended: a grave one among the last few, else the very last."""
    try:
        with log.open("rb") as lines:
            recent = deque((line.decode(errors="replace").strip() for line in lines), maxlen=200)
    except OSError:
        return ""
    said = [line for line in recent if line]
    grave = [line for line in said[-10:] if any(word in line for word in GRAVE)]
    return (grave or said or [""])[-1]


def wait_until(ready: Callable[[], bool], seconds: float, poll: float = 0.05) -> bool:
    """Poll until true or the time is over; returns whether it became true."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() >= deadline:
            return False
        time.sleep(poll)
    return True


class Server:
    """A server with a data directory. Subclasses say how it is prepared, launched and recognised as ready."""

    name: str
    ready_timeout: float = 60.0
    """Seconds a start may take on a busy machine."""
    stop_timeout: float = 15.0
    """Seconds a clean stop may take before it is killed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Create what the server needs before its first start. Harmless when already there."""
        raise NotImplementedError

    def launch(self) -> Launch:
        """How the server process is started."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether the server answers now."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise StackError(f"{self.name} was not started.")
        return self._process.pid

    def start(self) -> Self:
        """Prepare, start and wait until ready. Raises StackError with the last line of its log otherwise."""
        self.prepare()
        launch = self.launch()
        process = self._process = spawn(launch)
        ready = wait_until(lambda: process.poll() is not None or self.is_ready(), self.ready_timeout)
        if process.poll() is not None or not ready:
            ended = f"ended with {process.returncode}" if process.poll() is not None else "did not become ready"
            self.kill()
            raise StackError(f"{self.name} {ended}: {last_line(launch.log)} (log: {launch.log})")
        return self

    def stop(self) -> None:
        """End the server cleanly, by force when that takes too long."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            self.resume()
            process.send_signal(self.launch().stop_signal)
            try:
                process.wait(self.stop_timeout)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process = None

    def kill(self) -> None:
        """kill -9 of the server and of what it started."""
        process = self._process
        if process is None:
            return
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # already gone, which is what was wanted
        process.wait()
        self._process = None

    def pause(self) -> None:
        """Stop the server and all its processes in their tracks (SIGSTOP), as a frozen machine would."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        server = psutil.Process(self.pid)
        server.send_signal(number)  # first: it may not make another child while they are looked up
        for process in server.children(recursive=True):
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue  # it ended by itself: nothing to stop

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
