"""The event loop of coroutine handlers, on a thread of its own, which no handler can end.

Used by the executor. Handlers share this loop, so what one of them does to it all others would feel: one that calls
exit, stops the loop or forks, ends only its own attempt; one that blocks it is found out and named.
"""

import asyncio
import os
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from services.worker.attempt import Failed, failure_of
from services.worker.task import TaskContext, TaskError
from shared.process import Process
from shared.telemetry.logging import get_logger

log = get_logger(__name__)

_LOOK_SECONDS = 1.0
_DEEPEST = 12
_PART = "handlers"
_OWN = ("/asyncio/", "/threading.py", "/services/worker/coroutines.py", "/services/worker/executor.py")
"""Files whose lines say nothing about a handler."""


class HandlerLoop:
    """One event loop and the threads that run and watch it."""

    def __init__(
        self, process: Process, stuck_seconds: int, on_stuck: Callable[["asyncio.Task[Any] | None", str], None]
    ) -> None:
        """`on_stuck(task, place)` is called once, from the watching thread: the task that blocks, and its line."""
        self._process = process
        self._stuck_seconds = stuck_seconds
        self._on_stuck = on_stuck
        self._loop = asyncio.new_event_loop()
        self._ended = threading.Event()
        self._unanswered = 0
        self._copied = False
        self._thread = threading.Thread(target=self._run, name=_PART, daemon=True)
        self._watching = threading.Thread(target=self._watch, name="handlers-watch", daemon=True)

    def start(self) -> None:
        """Run from now on."""
        os.register_at_fork(after_in_child=self._copy)
        self._thread.start()
        self._watching.start()

    def stop(self) -> None:
        """Run no more. A handler that blocks the loop is left behind: its thread ends with the process."""
        self._ended.set()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._process.quiet(_PART)

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call it on the loop's thread, soon; from any thread."""
        self._loop.call_soon_threadsafe(function, *arguments)

    def call_later(self, seconds: float, function: Callable[..., object], *arguments: object) -> None:
        """Call it on the loop's thread, then; from that thread."""
        self._loop.call_later(seconds, function, *arguments)

    def run(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run a coroutine; from the loop's thread."""
        return self._loop.create_task(coroutine)

    def end_copy(self) -> None:
        """End here if this is a copy of the worker that a handler has forked: it must do nothing in its name."""
        if self._copied:
            os._exit(0)

    def _copy(self) -> None:
        """In a copy: it shares the others' sockets and the loop's own, so none of their steps may run in it."""
        self._copied = True
        self._loop._ready.clear()  # type: ignore[attr-defined]
        self._loop.call_soon = lambda *_, **__: os._exit(0)  # type: ignore[method-assign]
        self._loop.stop()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not self._ended.is_set():
            try:
                self._loop.run_forever()
            except BaseException:  # a task that a handler has started called exit: asyncio lets that come out here
                self.end_copy()
                log.exception("A handler tried to end the event loop; it runs on", action="handlers.exit")
            self.end_copy()

    def _watch(self) -> None:
        """Looks are counted, not seconds: a process that was frozen as a whole has not blocked its loop."""
        while not self._ended.wait(_LOOK_SECONDS):
            self._unanswered += 1
            self.call(self._answer)
            if self._unanswered == self._stuck_seconds and not self._ended.is_set():
                task, places = asyncio.current_task(self._loop), self._places()
                sentence = f"A handler blocks the event loop at {places[0]}: stopping"
                log.error(sentence, action="handlers.stuck", called_from=", ".join(places[1:]))
                self._on_stuck(task, places[0])
                self._process.fail()

    def _answer(self) -> None:
        self._unanswered = 0
        self._process.beat(_PART, 2.0 * self._stuck_seconds)

    def _places(self) -> list[str]:
        """Where the loop's thread is, innermost first; never empty."""
        stack = traceback.extract_stack(sys._current_frames().get(self._thread.ident or 0), _DEEPEST)
        foreign = [one for one in reversed(stack) if not any(part in one.filename for part in _OWN)]
        return [f"{Path(one.filename).name}:{one.lineno} in {one.name}" for one in foreign] or ["an unknown place"]


def disarm_exit() -> None:
    """Make os._exit what sys.exit is, but for the main thread, by which the worker itself ends, and in other processes.

    Before any handler is imported: nothing else keeps code that shares this process from ending it without a word.
    """
    really, worker = os._exit, os.getpid()

    def exits(status: int) -> NoReturn:
        if os.getpid() == worker and threading.current_thread() is not threading.main_thread():
            raise SystemExit(status)
        really(status)

    os._exit = exits


def raised(error: BaseException, context: TaskContext) -> Failed:
    """A coroutine handler's exception as its attempt's outcome, told in the log."""
    failure = failure_of(error, context.settings.worker_result_limit_bytes)
    if not isinstance(error, TaskError):  # what it has foreseen, the line of the attempt's end says in full
        log.warning(
            "A handler raised",
            exc_info=not isinstance(error, OSError),
            action="run.raised",
            schedule_id=context.schedule_id,
            job_id=context.job_id,
            attempt=context.attempt,
            error=failure.error,
        )
    return replace(failure, artifacts=context.artifacts)
