"""What a batch tells about its operations: as the run's result, or as a file where that would be too large for one."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import orjson

from services.worker.task import TaskContext
from shared.events.task_types import BatchParameters
from shared.storage.batch_progress import Ended

if TYPE_CHECKING:
    from services.worker.tasks.batch import Step

FILE = "batch-operations.json"
_SHARE = 0.9
"""Of the result's limit: the rest is for what the event says beside it."""
_MOST_ERROR = 300


def report(
    context: TaskContext,
    parameters: BatchParameters,
    steps: Sequence["Step"],
    ended: Mapping[int, Ended],
    resumed: Collection[int],
) -> dict[str, Any]:
    """The counts, and every operation in order with status (succeeded, failed, not_run), result, error, duration."""
    operations = [_operation(step, ended.get(step.place), step.place in resumed) for step in steps]
    counts = Counter(one["status"] for one in operations)
    told: dict[str, Any] = {
        "mode": parameters.mode,
        "on_error": parameters.on_error,
        "total": len(steps),
        **{status: counts[status] for status in ("succeeded", "failed", "not_run")},
        "operations": operations,
    }
    text = orjson.dumps(told, default=str)
    if len(text) <= context.settings.worker_result_limit_bytes * _SHARE:
        return told
    artifact = context.save(FILE, BytesIO(text), "application/json")
    short = [
        {**one, "result": None, "error": one["error"] and one["error"][:_MOST_ERROR], "result_in": artifact.name}
        for one in operations
    ]
    return {**told, "operations": short}


def _operation(step: "Step", ended: Ended | None, resumed: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operation": step.place,
        "name": step.operation.name,
        "task_type": step.operation.task_type,
        "status": "not_run",
        "result": None,
        "error": None,
        "duration_seconds": None,
    }
    if ended is None:
        return told
    return told | {
        "status": ended.status,
        "result": ended.result,
        "error": ended.error,
        "reason": ended.reason,
        "duration_seconds": ended.duration_seconds,
        "attempt": ended.attempt,
        "resumed": resumed,
        "artifacts": [artifact["name"] for artifact in ended.artifacts],
    }
