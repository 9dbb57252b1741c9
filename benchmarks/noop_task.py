"""The task type of the worker's benchmark: plugged in as a team's own type would be, and does nothing."""

from typing import Any

from pydantic import BaseModel

from services.worker.task import TaskContext, task


class Nothing(BaseModel):
    """No parameters."""


@task("noop", Nothing, concurrency=5_000)
async def noop(_context: TaskContext, _parameters: Nothing) -> dict[str, Any]:
    """Do nothing."""
    return {}
