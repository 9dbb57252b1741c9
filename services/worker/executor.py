"""Executes attempts: coroutines on one event loop, heavy work in child processes; slots by task type.

The intake starts attempts that it has claimed, never more than `free` says. Every started attempt ends in exactly one
call of `on_end`, whatever its handler does: returns, raises, hangs, crashes, or ignores that it was cancelled.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, cast

from opentelemetry.trace import StatusCode
from prometheus_client import Histogram
from pydantic import ValidationError

from services.worker.attempt import Attempt, Cancelled, Failed, NotBegun, Outcome, Succeeded
from services.worker.child import Call, checked
from services.worker.coroutines import HandlerLoop, raised
from services.worker.process_lane import ChildRun, ProcessLane
from services.worker.settings import Settings
from services.worker.task import Handler, Resources, TaskContext
from shared import clock
from shared.domain.job import FailureReason
from shared.process import Process
from shared.telemetry.metrics import RUN_DURATION, RUNS_IN_PROGRESS, RUNS_STARTED
from shared.telemetry.tracing import begin_span

LATE_CANCEL, CLAIM_LOST = "worker_stopping", "claim_lost"
"""Why the worker itself stops an attempt: neither cancels the job."""
_WATCH_SECONDS = 0.25
_REMEMBERED = 1_000
"""Requests to stop what does not run here that are kept for attempts whose claim is just being made."""


class Executor:
    """Runs attempts side by side. One handler a task type."""

    def __init__(
        self,
        settings: Settings,
        process: Process,
        handlers: Mapping[str, Handler],
        on_begin: Callable[[Attempt], None],
        on_end: Callable[[Attempt, Outcome], None],
    ) -> None:
        """`on_begin` and `on_end` are called from the event loop's thread or a watching thread."""
        self._settings = settings
        self._process = process
        self._handlers = handlers
        self._on_begin = on_begin
        self._on_end = on_end
        self._resources = Resources(settings)
        self._limits = {
            name: settings.worker_concurrency.get(name, handler.concurrency) for name, handler in handlers.items()
        }
        self._durations = {name: _durations(name) for name in handlers}
        for name in handlers:
            RUNS_IN_PROGRESS.labels(name).set_function(partial(self._in_progress, name))
        self._lock = threading.Lock()
        self._running: dict[tuple[int, int], Attempt] = {}
        self._taken: Counter[str] = Counter()
        self._tasks: dict[tuple[int, int], asyncio.Task[None]] = {}
        self._children: dict[tuple[int, int], ChildRun] = {}
        self._asked: dict[int, tuple[int | None, str]] = {}
        self._stopping = False
        heavy = sum(self._limits[name] for name, handler in handlers.items() if handler.kind == "process")
        self._lane = ProcessLane(heavy) if heavy else None
        self._loop = HandlerLoop(process, settings.worker_stuck_seconds, self._end_blocking)

    def start(self) -> None:
        """Be ready for attempts."""
        self._loop.start()
        self._loop.call(self._watch)

    def _in_progress(self, task_type: str) -> int:
        return self._taken[task_type]

    def free(self, task_type: str) -> int:
        """How many attempts of this type may be started now."""
        limit = self._limits.get(task_type)
        return 1_000 if limit is None else max(0, limit - self._taken[task_type])

    def running(self) -> set[tuple[int, int]]:
        """The attempts that are not over yet."""
        with self._lock:
            return set(self._running)

    def begin(self, attempts: Iterable[Attempt]) -> None:
        """Start claimed attempts."""
        batch = list(attempts)
        with self._lock:
            for attempt in batch:
                self._running[attempt.key] = attempt
                self._taken[attempt.due.task_type] += 1
                number, reason = self._asked.get(attempt.due.job_id, (0, None))
                if number in (None, attempt.due.attempt):
                    attempt.cancel_reason = reason
        self._loop.call(self._begin_all, batch)

    def ask_to_stop(self, job_id: int, attempt: int | None, reason: str) -> bool:
        """Stop an attempt on request, also one that this worker has claimed and has yet to hear of from PostgreSQL."""
        with self._lock:
            self._asked[job_id] = attempt, reason
            if len(self._asked) > _REMEMBERED:
                del self._asked[next(iter(self._asked))]
        return self.cancel(job_id, attempt, reason)

    def cancel(self, job_id: int, attempt: int | None, reason: str) -> bool:
        """Stop a running attempt (None: whichever runs); False when none runs here."""
        with self._lock:
            found = [one for key, one in self._running.items() if key[0] == job_id and attempt in (None, key[1])]
        for one in found:
            one.cancel_reason = one.cancel_reason or reason
            child = self._children.get(one.key)
            if child is not None:
                child.stop()
            else:
                self._loop.call(self._cancel_task, one)
        return bool(found)

    def stop(self, grace_seconds: float) -> None:
        """Let running attempts finish within the grace, then stop them; returns when each has ended or is given up."""
        self._stopping = True
        self._wait_until_idle(grace_seconds)
        for job_id, number in self.running():
            self.cancel(job_id, number, LATE_CANCEL)
        self._wait_until_idle(self._settings.worker_cancel_grace_seconds + 2.0)
        self._loop.stop()
        with self._lock:
            left = list(self._running.values())
        for attempt in left:  # a blocked loop can end none of them
            self._end(attempt, NotBegun() if attempt.started_at is None else _stopped(LATE_CANCEL))
        if self._lane is not None:
            self._lane.close()

    def _wait_until_idle(self, seconds: float) -> None:
        deadline = clock.monotonic() + seconds
        pause = threading.Event()
        while self.running() and clock.monotonic() < deadline:
            pause.wait(0.02)

    # --- on the event loop's thread

    def _watch(self) -> None:
        """Look for coroutines over their time limit; one look at all is cheaper than a timer for each."""
        now = clock.monotonic()
        for attempt in [self._running.get(key) for key in list(self._tasks)]:
            if attempt is None or attempt.timed_out:
                continue
            if now - attempt.started_monotonic >= attempt.due.timeout_seconds:
                attempt.timed_out = True
                self._stop_task(attempt, _timeout(attempt))
        self._loop.call_later(_WATCH_SECONDS, self._watch)

    def _begin_all(self, batch: list[Attempt]) -> None:
        for attempt in batch:
            if self._stopping:
                self._end(attempt, NotBegun())
            else:
                self._begin(attempt)
        for task_type, count in Counter(attempt.due.task_type for attempt in batch if attempt.started_at).items():
            RUNS_STARTED.labels(task_type).inc(count)

    def _begin(self, attempt: Attempt) -> None:
        due, handler = attempt.due, attempt.handler
        now = clock.now()
        if due.start_by is not None and now > due.start_by:
            self._end(attempt, Cancelled("deadline"))
            return
        attempt.started_at, attempt.started_monotonic = now, clock.monotonic()
        if self._settings.otlp_endpoint is not None:
            attempt.span, attempt.traceparent = begin_span(
                f"run {due.task_type}",
                attempt.traceparent,
                schedule_id=due.schedule_id,
                job_id=due.job_id,
                attempt=due.attempt,
            )
        self._on_begin(attempt)
        if handler is None:
            sentence = f"no handler for task type {due.task_type} in this worker"
            self._end(attempt, Failed(sentence, FailureReason.NO_HANDLER, permanent=True))
            return
        context = self._context(attempt)
        try:
            parameters = handler.parameters.model_validate(due.task_parameters)
        except ValidationError as error:
            self._end(attempt, _invalid(error))
            return
        except BaseException as error:  # noqa: BLE001 - a model's validators are the handler's code, too
            self._end(attempt, raised(error, context))
            return
        if handler.kind == "process":
            self._begin_child(attempt, handler, context)
        elif attempt.cancel_reason is not None:
            self._end(attempt, Cancelled(attempt.cancel_reason))
        else:
            self._tasks[attempt.key] = self._loop.run(self._run(attempt, handler, context, parameters))

    def _begin_child(self, attempt: Attempt, handler: Handler, context: TaskContext) -> None:
        settings = self._settings
        call = Call(
            handler.path,
            context,
            attempt.due.task_parameters,
            settings.worker_memory_limit_mb << 20,
            settings.worker_result_limit_bytes,
        )
        child = ChildRun(call, attempt.due.timeout_seconds, settings.worker_cancel_grace_seconds)
        self._children[attempt.key] = child
        if attempt.cancel_reason is not None:
            child.stop()
        cast("ProcessLane", self._lane).submit(child, lambda outcome: self._end(attempt, outcome))

    async def _run(self, attempt: Attempt, handler: Handler, context: TaskContext, parameters: Any) -> None:
        try:
            result = await cast("Any", handler.function(context, parameters))
            outcome = checked(result, self._settings.worker_result_limit_bytes, context)
        except asyncio.CancelledError:
            outcome = Failed("the handler cancelled itself", FailureReason.ERROR)
        except BaseException as error:  # noqa: BLE001 - foreign code: whatever it raises becomes the attempt's outcome
            self._loop.end_copy()
            outcome = raised(error, context)
        self._loop.end_copy()
        self._end(attempt, _timeout(attempt) if attempt.timed_out else outcome)

    def _cancel_task(self, attempt: Attempt) -> None:
        self._stop_task(attempt, Cancelled(attempt.cancel_reason or ""))

    def _stop_task(self, attempt: Attempt, outcome: Outcome) -> None:
        task = self._tasks.get(attempt.key)
        if task is not None:
            task.cancel()
            # One that swallows its cancellation is given up after the grace: its end is published all the same.
            self._loop.call_later(self._settings.worker_cancel_grace_seconds, self._end, attempt, outcome)

    def _context(self, attempt: Attempt) -> TaskContext:
        due = attempt.due
        return TaskContext(
            job_id=due.job_id,
            attempt=due.attempt,
            schedule_id=due.schedule_id,
            schedule_name=due.schedule_name,
            project_id=due.project_id,
            task_type=due.task_type,
            scheduled_for=due.scheduled_for,
            trigger=due.trigger,
            tags=due.tags,
            started_at=attempt.started_at or clock.now(),
            timeout_seconds=float(due.timeout_seconds),
            resources=self._resources,
        )

    # --- from any thread

    def _end_blocking(self, task: "asyncio.Task[Any] | None", place: str) -> None:
        """End the attempt that blocks the loop, if it is known: its own fault, and it would block the next try too."""
        keys = [key for key, one in list(self._tasks.items()) if one is task]
        with self._lock:
            found = [self._running[key] for key in keys if key in self._running]
        for attempt in found:
            sentence = f"the handler blocked the worker's event loop at {place}; what computes or blocks must be `def`"
            self._end(attempt, Failed(sentence, FailureReason.CRASHED, permanent=True))

    def _end(self, attempt: Attempt, outcome: Outcome) -> None:
        """The one way out. A second end of the same attempt (one that was given up) is ignored."""
        with self._lock:
            if self._running.pop(attempt.key, None) is None:
                return
            self._taken[attempt.due.task_type] -= 1
            self._tasks.pop(attempt.key, None)
            self._children.pop(attempt.key, None)
        if attempt.cancel_reason is not None and not isinstance(outcome, Succeeded | NotBegun):
            outcome = _stopped(attempt.cancel_reason)
        if attempt.span is not None:
            if isinstance(outcome, Failed):
                attempt.span.set_status(StatusCode.ERROR, outcome.error)
            attempt.span.end()
        if attempt.started_at is not None and attempt.handler is not None:
            seconds = clock.monotonic() - attempt.started_monotonic
            self._durations[attempt.due.task_type][type(outcome)].observe(seconds)
        self._on_end(attempt, outcome)


def _durations(task_type: str) -> dict[type, Histogram]:
    """One task type's histograms, looked up once: labels cost more than observing."""
    kinds = (Succeeded, Failed, Cancelled, NotBegun)
    return {kind: RUN_DURATION.labels(task_type, kind.__name__.lower()) for kind in kinds}


def _stopped(reason: str) -> Outcome:
    if reason == LATE_CANCEL:
        return Failed("the worker was stopped before the run had ended", FailureReason.WORKER_LOST)
    if reason == CLAIM_LOST:  # the rescue says the same: whichever is heard first, the job goes on alike
        return Failed("the worker stood still and lost its claim", FailureReason.WORKER_LOST)
    return Cancelled(reason)


def _timeout(attempt: Attempt) -> Failed:
    return Failed(f"the run took longer than {attempt.due.timeout_seconds} s", FailureReason.TIMEOUT)


def _invalid(error: ValidationError) -> Failed:
    problems = "; ".join(
        f"{'.'.join(map(str, one['loc'])) or 'parameters'}: {one['msg']}" for one in error.errors()[:5]
    )
    return Failed(f"invalid task parameters: {problems}", FailureReason.INVALID_PARAMETERS, permanent=True)
