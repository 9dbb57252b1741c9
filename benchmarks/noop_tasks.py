"""The task types of the worker's benchmarks: plugged in as a team's own types would be."""

from __future__ import annotations

import tempfile
from typing import Any

from pydantic import BaseModel

from services.worker.task import TaskContext, task


class Nothing(BaseModel):
    """No parameters."""


@task("noop", Nothing, concurrency=5_000)
async def noop(_context: TaskContext, _parameters: Nothing) -> dict[str, Any]:
    """Do nothing."""
    return {}


@task("forked", Nothing, concurrency=2)
def forked(_context: TaskContext, _parameters: Nothing) -> dict[str, Any]:
    """What a run in a process of its own may leave behind: memory, output, a file."""
    print("x" * 100_000)
    filled = b"x" * (16 << 20)
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(filled[:4096])
    return {"bytes": len(filled)}
