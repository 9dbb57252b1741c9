"""Heavy attempts, each in a process of its own that can be killed with everything it started.

Used by the executor. One thread a running attempt watches its process: the answer, what it prints (the last lines are
kept, the rest is thrown away), its end, the time limit and a request to cancel.
"""

import ctypes
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import connection, resource_tracker
from multiprocessing.context import ForkServerProcess
from multiprocessing.forkserver import _forkserver
from typing import Any

import psutil

from services.worker.attempt import Cancelled, Failed, Outcome, received
from services.worker.child import Call
from services.worker.child import main as child_main
from shared import clock
from shared.domain.job import FailureReason
from shared.telemetry.logging import get_logger

log = get_logger(__name__)
Pipe = Any
"""multiprocessing's Connection, one way."""

_PR_SET_CHILD_SUBREAPER = 36
_TURN = 0.1
"""Seconds between two looks at the cancel request and the time limit."""
_TAIL = 4_096
"""Bytes of output kept for the error."""
_ENVELOPE = 1 << 20
"""Bytes of an answer beside its result: the error, the list of artifacts."""
_ROUNDS = 100
"""Looks for children that escaped, until none is left: each may have made new ones meanwhile."""


@dataclass(slots=True, eq=False)
class ChildRun:
    """One attempt's process. `stop` may be called from any thread."""

    call: Call
    timeout_seconds: float
    cancel_grace_seconds: float
    _stop: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> None:
        """Ask it to end; killed after the grace."""
        self._stop.set()

    def run(self) -> Outcome:
        """Start the process and wait for the attempt's end; leaves nothing of it running."""
        try:
            scratch = tempfile.mkdtemp(prefix="run-")
        except OSError as error:
            return Failed(f"no folder for temporary files could be made: {error}", FailureReason.CRASHED)
        try:
            return self._run(scratch)
        finally:
            _end_orphans()
            shutil.rmtree(scratch, ignore_errors=True)  # what cannot go now goes with the worker's own folder

    def _run(self, scratch: str) -> Outcome:
        context = multiprocessing.get_context("forkserver")
        answer, answer_end = context.Pipe(duplex=False)
        output, output_end = context.Pipe(duplex=False)
        process = context.Process(target=child_main, args=(self.call, answer_end, output_end, scratch), daemon=False)
        try:
            process.start()
        except OSError as error:
            return Failed(f"no process could be started: {error}", FailureReason.CRASHED)
        finally:
            answer_end.close()
            output_end.close()
        try:
            return self._watch(process, answer, output)
        finally:
            _signal_group(process, signal.SIGKILL)
            process.join()
            process.close()
            answer.close()
            output.close()

    def _watch(self, process: ForkServerProcess, answer: Pipe, output: Pipe) -> Outcome:
        deadline = clock.monotonic() + self.timeout_seconds
        kill_at: float | None = None
        tail, said = b"", b""
        waiting: list[Any] = [answer, output, process.sentinel]
        while True:
            ready = connection.wait(waiting, timeout=_TURN)
            if output in ready:
                data = _read(output)
                tail = (tail + data)[-_TAIL:]
                if not data:
                    waiting.remove(output)
            if answer in ready:
                # Piece by piece: a child that writes half an answer must not hold this thread past the time limit.
                data = _read(answer)
                said += data
                if said.endswith(b"\n"):
                    return Cancelled("") if self._stop.is_set() else received(said)
                if not data:
                    waiting.remove(answer)  # it ended without an answer, or closed the pipe and goes on
                if len(said) > self.call.result_bytes + _ENVELOPE:
                    return Failed("the process answered without end", FailureReason.CRASHED)
            if process.sentinel in ready and answer not in ready:
                return Cancelled("") if self._stop.is_set() else _crashed(process, tail)
            now = clock.monotonic()
            if now >= deadline:
                return Failed(f"the run took longer than {self.timeout_seconds:g} s", FailureReason.TIMEOUT)
            if self._stop.is_set() and kill_at is None:
                kill_at = now + self.cancel_grace_seconds
                _signal_group(process, signal.SIGTERM)
            if kill_at is not None and now >= kill_at:
                return Cancelled("")


class ProcessLane:
    """The threads that watch, as many as may run at once."""

    def __init__(self, slots: int) -> None:
        self._threads = ThreadPoolExecutor(max_workers=max(1, slots), thread_name_prefix="child")
        # What a child's children leave behind comes to this process, which ends it.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
        multiprocessing.get_context("forkserver").set_forkserver_preload(["services.worker.child"])
        _forkserver.ensure_running()
        resource_tracker.ensure_running()

    def submit(self, run: ChildRun, ended: Callable[[Outcome], None]) -> None:
        """Run it on a thread and call `ended(outcome)` there."""
        self._threads.submit(self._run, run, ended)

    def close(self) -> None:
        """After every run has ended."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    def _run(run: ChildRun, ended: Callable[[Outcome], None]) -> None:
        try:
            outcome = run.run()
        except Exception as error:  # the thread's boundary: an attempt must end, whatever happened around its process
            log.exception("A child process could not be watched", action="run.unwatched")
            outcome = Failed(f"the worker lost sight of the process: {error}", FailureReason.CRASHED)
        ended(outcome)


def _read(pipe: Pipe) -> bytes:
    try:
        return os.read(pipe.fileno(), 1 << 16)
    except OSError:
        return b""


def _crashed(process: ForkServerProcess, tail: bytes) -> Failed:
    code = process.exitcode
    if code is not None and code < 0:
        how = f"was killed by signal {-code} ({signal.strsignal(-code)})"
    else:
        how = f"ended with exit code {code}"
    said = tail.decode(errors="replace").strip().splitlines()
    return Failed(f"the process {how}" + (f": {said[-1][:300]}" if said else ""), FailureReason.CRASHED)


def _signal_group(process: ForkServerProcess, number: int) -> None:
    if process.pid is None:
        return
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        if not process.is_alive():
            return
        try:
            os.kill(process.pid, number)  # so young that it leads no group yet
        except ProcessLookupError:
            return  # it ended, and the fork server reaped it, just now


def _end_orphans() -> None:
    """Kill and reap what escaped its group (setsid, double fork) and has become a child of this process.

    Children in our own session are ours: a coroutine may have started a program.
    """
    for _ in range(_ROUNDS):
        if not [child for child in psutil.Process().children() if _has_escaped(child) and _ended(child)]:
            return
    log.error("Processes that a run left behind make new ones faster than they are killed", action="run.left_behind")


def _has_escaped(child: psutil.Process) -> bool:
    ours = {_forkserver._forkserver_pid, resource_tracker._resource_tracker._pid}  # type: ignore[attr-defined]
    try:
        return child.pid not in ours and os.getsid(child.pid) != os.getsid(0)
    except ProcessLookupError:
        return False  # ended and reaped meanwhile


def _ended(child: psutil.Process) -> bool:
    """Whether it was there to be killed. What it had started becomes a child of ours and is found by the next look."""
    try:
        child.kill()
        os.waitpid(child.pid, 0)
    except (psutil.NoSuchProcess, ChildProcessError):
        return False  # another run's thread was faster
    return True
