"""A service's life as a process: signals, graceful stop, and the heartbeats that /livez judges.

Each service's wiring makes one Process. A loop calls `beat` on every turn; when a loop hangs for longer than it
promised, /livez fails and whoever supervises the process restarts it.
"""

import os
import signal
import socket
import threading
from types import FrameType

from shared import clock


class Process:
    """One running service. `stopping` is set by SIGTERM or SIGINT; loops wait on it instead of sleeping."""

    def __init__(self, service: str, instance: str | None = None) -> None:
        self.service = service
        self.instance = instance or f"{socket.gethostname()}:{os.getpid()}"
        self.stopping = threading.Event()
        self.exit_code = 0
        self._beats: dict[str, float] = {}
        self._lock = threading.Lock()

    def install_signals(self) -> None:
        """Turn SIGTERM and SIGINT into `stopping`. A second one ends the process at once."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.stopping.is_set():
            os._exit(128 + number)
        self.stopping.set()

    def fail(self, exit_code: int = 1) -> None:
        """Stop gracefully and end with a code that tells the supervisor to restart."""
        self.exit_code = exit_code
        self.stopping.set()

    def beat(self, part: str, within_seconds: float) -> None:
        """Say that `part` is alive and will say so again within so many seconds."""
        with self._lock:
            self._beats[part] = clock.monotonic() + within_seconds

    def quiet(self, part: str) -> None:
        """`part` has ended on purpose and will not beat any more."""
        with self._lock:
            self._beats.pop(part, None)

    def stale(self) -> list[str]:
        """The parts that have not kept their promise."""
        now = clock.monotonic()
        with self._lock:
            return sorted(part for part, deadline in self._beats.items() if deadline < now)
