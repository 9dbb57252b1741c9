"""batch: runs several operations as one job, one after the other or side by side, each with a result of its own.

The worker's registry finds it here. Before anything runs, every operation is checked against its task type's
parameters. What has ended is noted before the next operation begins, so that the job's next attempt, after a crash or
a failure that may pass, goes on at the first operation that is not finished. An operation that was running when its
worker died runs again: at least once, as with any job of several attempts.
"""

import asyncio
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from services.worker.attempt import Failed, Succeeded
from services.worker.task import Handler, PermanentError, TaskContext, TemporaryError, task
from services.worker.tasks import batch_operation
from services.worker.tasks.batch_report import report
from shared import clock
from shared.domain.job import FailureReason
from shared.events.task_types import BatchOperation, BatchParameters
from shared.storage import batch_progress
from shared.storage.batch_progress import Ended
from shared.storage.database import Connection, DatabaseUnavailable
from shared.telemetry.logging import get_logger

log = get_logger(__name__)
T = TypeVar("T")

_RETRY_SECONDS = 0.5
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Step:
    """One operation, at its place (from 1), with who runs it."""

    place: int
    operation: BatchOperation
    handler: Handler

    @property
    def title(self) -> str:
        """What people call it."""
        name, task_type = self.operation.name, self.operation.task_type
        return f"{self.place} ({name}: {task_type})" if name else f"{self.place} ({task_type})"


@task("batch", BatchParameters, concurrency=8)
async def batch(context: TaskContext, parameters: BatchParameters) -> dict[str, Any]:
    """Run several operations as one job."""
    steps = _checked(parameters, await asyncio.to_thread(_handlers))
    before = await _in_database(context, lambda connection: batch_progress.read(connection, context.job_id))
    run = _Batch(context, parameters, steps, {place: ended for place, ended in before.items() if ended.is_final})
    await run.adopt()
    await run.run()
    return run.result()


class _Batch:
    """One attempt of a batch."""

    def __init__(
        self, context: TaskContext, parameters: BatchParameters, steps: list[Step], finished: dict[int, Ended]
    ) -> None:
        self._context = context
        self._parameters = parameters
        self._steps = steps
        self._ended = dict(finished)
        self._resumed = frozenset(finished)
        self._failed: dict[int, Failed] = {}
        """What failed in this attempt, with all that the operation's handler said about it."""
        self._until = clock.monotonic() + context.timeout_seconds
        self._stopped = parameters.on_error == "stop" and any(one.status == "failed" for one in finished.values())
        self._waiting: Iterator[Step] = iter([step for step in steps if step.place not in finished])

    async def adopt(self) -> None:
        """Take over the files of operations that an earlier attempt finished: a job's files are its last attempt's."""
        for place in sorted(self._resumed):
            ended = self._ended[place]
            if ended.attempt != self._context.attempt:
                await asyncio.to_thread(batch_operation.adopt, self._context, ended)
        if self._resumed:
            log.info(
                f"Batch goes on after {len(self._resumed)} of {len(self._steps)} operations",
                action="batch.resumed",
                schedule_id=self._context.schedule_id,
                job_id=self._context.job_id,
                attempt=self._context.attempt,
            )

    async def run(self) -> None:
        """Run what is not finished. A cancellation cancels what runs, and comes out when that has ended."""
        lanes = self._parameters.max_parallel if self._parameters.mode == "parallel" else 1
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(lanes, len(self._steps))):
                    group.create_task(self._lane())
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None  # the others are its consequences

    def result(self) -> dict[str, Any]:
        """What became of each operation; raises where the batch as a whole has failed."""
        told = report(self._context, self._parameters, self._steps, self._ended, self._resumed)
        failed = [place for place, ended in sorted(self._ended.items()) if ended.status == "failed"]
        # With `continue`, failed operations are results; but a batch of which nothing succeeded has failed.
        if not failed or (self._parameters.on_error == "continue" and told["succeeded"]):
            return told
        first = self._ended[failed[0]]
        sentence = f"operation {self._steps[failed[0] - 1].title} of {len(self._steps)} failed: {first.error}"
        if len(failed) > 1:
            sentence += f" (and {len(failed) - 1} more)"
        reason = first.reason or FailureReason.ERROR
        if all(self._ended[place].permanent for place in failed):
            raise PermanentError(sentence, reason=reason, result=told)
        waits = [one.retry_after for one in self._failed.values() if one.retry_after is not None]
        raise TemporaryError(sentence, retry_after=max(waits, default=None), reason=reason, result=told)

    async def _lane(self) -> None:
        for step in self._waiting:  # shared by the lanes
            if self._stopped:
                return
            ended = await self._operate(step)
            await _in_database(self._context, functools.partial(self._note, ended))
            self._ended[step.place] = ended
            if ended.status == "failed" and self._parameters.on_error == "stop":
                self._stopped = True

    def _note(self, ended: Ended, connection: Connection) -> None:
        batch_progress.record(connection, self._context.job_id, ended)

    async def _operate(self, step: Step) -> Ended:
        started = clock.monotonic()
        context = batch_operation.context_of(self._context, step.place, step.operation.task_type, self._until - started)
        outcome = await batch_operation.execute(step.handler, context, step.operation.task_parameters)
        seconds = round(clock.monotonic() - started, 3)
        artifacts = [artifact.model_dump() for artifact in outcome.artifacts]
        self._context.artifacts.extend(outcome.artifacts)
        log.info(
            f"Operation {step.title} of {len(self._steps)} {type(outcome).__name__.lower()}",
            action="batch.operation",
            schedule_id=self._context.schedule_id,
            job_id=self._context.job_id,
            attempt=self._context.attempt,
            duration_seconds=seconds,
            **({"error": outcome.error} if isinstance(outcome, Failed) else {}),
        )
        if isinstance(outcome, Succeeded):
            return Ended(
                step.place,
                self._context.attempt,
                "succeeded",
                permanent=False,
                duration_seconds=seconds,
                result=outcome.result,
                artifacts=artifacts,
            )
        self._failed[step.place] = outcome
        return Ended(
            step.place,
            self._context.attempt,
            "failed",
            permanent=outcome.permanent,
            duration_seconds=seconds,
            result=outcome.result,
            error=outcome.error,
            reason=str(outcome.reason),
            artifacts=artifacts,
        )


@functools.cache
def _handlers() -> dict[str, Handler]:
    from services.worker.registry import handlers  # the registry imports this module

    return handlers()


def _checked(parameters: BatchParameters, handlers: dict[str, Handler]) -> list[Step]:
    """Every operation with its handler. Raises PermanentError naming what cannot run, before anything has."""
    steps, wrong, unserved = [], [], []
    for place, operation in enumerate(parameters.operations, 1):
        handler = handlers.get(operation.task_type)
        if handler is None:
            unserved.append(f"operation {place}: no handler for task type {operation.task_type} in this worker")
            continue
        try:
            handler.parameters.model_validate(operation.task_parameters)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"])) or "parameters"
            wrong.append(f"operation {place} ({operation.task_type}): {where}: {problem['msg']}")
        steps.append(Step(place, operation, handler))
    if wrong or unserved:
        sentence = "nothing was run: " + "; ".join([*wrong, *unserved][:_MOST_NAMED])
        raise PermanentError(sentence, reason=FailureReason.INVALID_PARAMETERS if wrong else FailureReason.NO_HANDLER)
    return steps


async def _in_database(context: TaskContext, step: Callable[[Connection], T]) -> T:
    """A transaction on a thread. While PostgreSQL is away it waits: the time limit bounds that."""

    def transact() -> T:
        with context.database.transaction() as connection:
            return step(connection)

    while True:
        try:
            return await asyncio.to_thread(transact)
        except DatabaseUnavailable as error:
            log.warning("Batch waits for PostgreSQL", action="batch.waiting", job_id=context.job_id, error=str(error))
            await asyncio.sleep(_RETRY_SECONDS)
