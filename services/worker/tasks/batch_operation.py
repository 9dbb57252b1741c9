"""One operation of a batch: executed as the executor would execute a run of its own, coroutine or killable process."""

import asyncio
import tempfile
import weakref
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from services.worker.attempt import Cancelled, Failed, NotBegun, Succeeded
from services.worker.child import Call, checked
from services.worker.coroutines import raised
from services.worker.process_lane import ChildRun
from services.worker.task import Handler, Resources, TaskContext
from shared.artifacts import ArtifactMissing
from shared.domain.job import FailureReason
from shared.events.types import Artifact
from shared.storage.batch_progress import Ended
from shared.telemetry.logging import get_logger

log = get_logger(__name__)

_EXTRA_SECONDS = 5.0
"""The executor, not the child's watcher, says that the batch as a whole took too long."""

# All batches of one worker together run as many operations of a type as the worker runs jobs of it.
_slots: weakref.WeakKeyDictionary[Resources, dict[str, asyncio.Semaphore]] = weakref.WeakKeyDictionary()


def context_of(context: TaskContext, place: int, task_type: str, seconds_left: float) -> TaskContext:
    """What the operation's handler sees: the batch's job, with file names of its own."""
    return replace(
        context,
        task_type=task_type,
        timeout_seconds=max(0.1, seconds_left),
        artifacts=[],
        file_prefix=f"{context.file_prefix}{place:03d}-",
    )


async def execute(handler: Handler, context: TaskContext, parameters: dict[str, Any]) -> Succeeded | Failed:
    """Run it to its end. Only a cancellation of the batch comes out as an exception, after the operation has ended."""
    async with _slot(handler, context):
        if handler.kind == "process":
            return await _in_process(handler, context, parameters)
        return await _in_coroutine(handler, context, parameters)


def adopt(context: TaskContext, ended: Ended) -> None:
    """Copy an operation's files from the attempt that made them to this one."""
    for record in ended.artifacts:
        artifact = Artifact.model_validate(record)
        store = context.resources.store
        try:
            with tempfile.TemporaryFile() as copy:
                for chunk in store.open(context.scheduled_for, context.job_id, ended.attempt, artifact.name):
                    copy.write(chunk)
                copy.seek(0)
                context.save(artifact.name, copy, artifact.media_type)
        except ArtifactMissing as error:
            log.warning(
                "A finished operation's file is gone",
                action="batch.artifact_missing",
                schedule_id=context.schedule_id,
                job_id=context.job_id,
                error=str(error),
            )


async def _in_coroutine(handler: Handler, context: TaskContext, parameters: Mapping[str, Any]) -> Succeeded | Failed:
    try:
        made: Any = handler.function(context, handler.parameters.model_validate(parameters))
        return checked(await made, context.settings.worker_result_limit_bytes, context)
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise
        return Failed("the handler cancelled itself", FailureReason.ERROR)
    except BaseException as error:  # noqa: BLE001 - foreign code: whatever it raises becomes the operation's outcome
        return raised(error, context)


async def _in_process(handler: Handler, context: TaskContext, parameters: dict[str, Any]) -> Succeeded | Failed:
    settings = context.settings
    call = Call(
        handler.path,
        context,
        parameters,
        settings.worker_memory_limit_mb << 20,
        settings.worker_result_limit_bytes,
    )
    child = ChildRun(call, context.timeout_seconds + _EXTRA_SECONDS, settings.worker_cancel_grace_seconds)
    # A thread of its own: those that wait for databases must not wait for this.
    with_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="operation")
    watching = asyncio.get_running_loop().run_in_executor(with_thread, child.run)
    try:
        outcome = await asyncio.shield(watching)
    except asyncio.CancelledError:
        child.stop()
        await asyncio.wait([watching])
        raise
    finally:
        with_thread.shutdown(wait=False)
    match outcome:
        case Succeeded() | Failed():
            return outcome
        case Cancelled() | NotBegun():
            return Failed("the operation was stopped", FailureReason.ERROR)


def _slot(handler: Handler, context: TaskContext) -> asyncio.Semaphore:
    limit = context.settings.worker_concurrency.get(handler.task_type, handler.concurrency)
    by_type = _slots.setdefault(context.resources, {})
    return by_type.setdefault(handler.task_type, asyncio.Semaphore(max(1, limit)))
