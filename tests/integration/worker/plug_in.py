"""A team's own task types, plugged into real workers by an entry point (see `installed`)."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from services.worker.task import PermanentError, TaskContext, TemporaryError, task


class Nothing(BaseModel):
    """No parameters but a place to leave marks."""

    model_config = ConfigDict(extra="forbid")
    mark: str = ""
    seconds: float = 0.0
    how: str = ""


def leave_mark(parameters: Nothing, text: str) -> None:
    if parameters.mark:
        with Path(parameters.mark).open("a") as file:
            file.write(f"{text}\n")


@task("noop", Nothing, concurrency=5_000)
async def noop(_context: TaskContext, _parameters: Nothing) -> dict[str, Any]:
    """Do nothing."""
    return {}


@task("wait", Nothing, concurrency=50)
async def wait(context: TaskContext, parameters: Nothing) -> dict[str, Any]:
    """Wait, as one does for a network."""
    leave_mark(parameters, f"{context.job_id} {context.attempt}")
    await asyncio.sleep(parameters.seconds)
    return {"waited": parameters.seconds}


@task("stubborn", Nothing)
async def stubborn(_context: TaskContext, parameters: Nothing) -> dict[str, Any]:
    """Swallow every cancellation."""
    until = time.monotonic() + parameters.seconds
    while time.monotonic() < until:
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            continue
    return {}


@task("compute", Nothing, concurrency=2)
def compute(context: TaskContext, parameters: Nothing) -> dict[str, Any]:
    """Keep a process busy."""
    leave_mark(parameters, f"{context.job_id} {context.attempt} {os.getpid()}")
    time.sleep(parameters.seconds)
    return {"pid": os.getpid()}


@task("fail", Nothing)
async def fail(_context: TaskContext, parameters: Nothing) -> dict[str, Any]:
    """Fail in the asked-for way."""
    from datetime import timedelta

    match parameters.how:
        case "permanent":
            raise PermanentError("this cannot work", result={"why": "never"})
        case "later":
            raise TemporaryError("come back later", retry_after=timedelta(seconds=90))
        case _:
            raise RuntimeError("something unforeseen")
