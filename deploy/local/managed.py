"""One process under supervision: started, watched, started again with back-off, stopped."""

from __future__ import annotations

import logging
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from deploy.local.processes import end, leftovers, marks, record_pid
from deploy.local.server import Launch, spawn
from deploy.local.state import ProcessState

FIRST_DELAY = 0.2
LONGEST_DELAY = 10.0
STEADY_AFTER = 30.0
"""Seconds of life after which the back-off starts from the beginning."""

log = logging.getLogger("supervisor")


class Managed:
    """A process that should always run. `watch` is called often and never blocks."""

    def __init__(
        self,
        launch: Launch,
        home: Path,
        state: ProcessState,
        may_start: Callable[[], Callable[[], bool]] = lambda: lambda: True,
    ) -> None:
        """`may_start` is called when a process has died; what it returns is asked until it allows the next start."""
        self.name = launch.name
        self.state = state
        self._launch = replace(launch, environment={**launch.environment, **marks(home, launch.name)})
        self._home = home
        self._may_start = may_start
        self._allowed: Callable[[], bool] = lambda: True
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._start_at: float | None = None
        self._delay = FIRST_DELAY

    @property
    def log_file(self) -> Path:
        """Where its output goes."""
        return self._launch.log

    def start(self) -> None:
        """Start the process."""
        self._process = spawn(self._launch)
        self._started = time.monotonic()
        self._start_at = None
        self.state.pid = self._process.pid
        record_pid(self._home, self.name, self._process.pid)
        log.info("process=%s pid=%d event=started restarts=%d", self.name, self._process.pid, self.state.restarts)

    def watch(self) -> bool:
        """Notice a death, and start again when it is time; returns whether anything changed."""
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return False
            self._died(code)
            return True
        if self._start_at is not None and time.monotonic() >= self._start_at and self._allowed():
            self.state.restarts += 1
            self.start()
            return True
        return False

    def _died(self, code: int) -> None:
        if time.monotonic() - self._started >= STEADY_AFTER:
            self._delay = FIRST_DELAY
        self.state.last_end = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        log.warning(
            'process=%s pid=%s event=died how="%s" again_in_seconds=%.1f',
            *(self.name, self.state.pid, self.state.last_end, self._delay),
        )
        self._process = None
        self.state.pid = None
        record_pid(self._home, self.name, None)
        # What it started must not go on beside its successor: a task without its worker would run twice.
        end(leftovers(self._home, self.name), grace=0)
        self._start_at = time.monotonic() + self._delay
        self._allowed = self._may_start()
        self._delay = min(2 * self._delay, LONGEST_DELAY)

    def give_up(self, said: str) -> None:
        """Kill a process that lives but does not work; `watch` then finds it dead and starts it again.

        `said`: its answer on /livez. The process cannot tell any more, and its restart leaves no other trace.
        """
        if self._process is not None:
            log.warning("process=%s pid=%d event=killed_as_stuck livez=%r", self.name, self._process.pid, said)
            self._process.kill()

    def ask_to_end(self) -> None:
        """Send the signal that ends it cleanly, and do not start it again."""
        self._start_at = None
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(self._launch.stop_signal)
            self._process.send_signal(signal.SIGCONT)  # a stopped process would not hear it

    def wait_end(self, grace: float) -> None:
        """Wait for the end that was asked for; after `grace` seconds it is killed."""
        if self._process is not None:
            try:
                self._process.wait(grace)
            except subprocess.TimeoutExpired:
                log.warning("process=%s pid=%s event=killed_after_grace", self.name, self._process.pid)
                self._process.kill()
                self._process.wait()
            log.info("process=%s pid=%d event=ended", self.name, self._process.pid)
        self._process = None
        self.state.pid = None
        record_pid(self._home, self.name, None)
        end(leftovers(self._home, self.name), grace=0)
