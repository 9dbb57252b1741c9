"""What runs inside a child process: one attempt of a heavy handler, its limits set, its answer sent back.

Started by the process lane through multiprocessing's fork server, which imports this module once; each attempt is then
a fork of a clean, single-threaded process, a few milliseconds away, and nothing of one run is left for the next.
"""

import ctypes
import importlib
import os
import resource
import signal
import sys
import traceback
from dataclasses import dataclass, replace
from multiprocessing import forkserver
from typing import Any

import orjson

from services.worker.attempt import Failed, Succeeded, failure_of, sent
from services.worker.task import Handler, TaskContext
from shared.domain.job import FailureReason

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Call:
    """What to run, and within which limits."""

    handler: str
    """`module:name` of a Handler."""
    context: TaskContext
    parameters: dict[str, object]
    memory_bytes: int
    result_bytes: int


def main(call: Call, answer: Any, output: Any) -> None:
    """Run the attempt and send its outcome as the only message. `output` takes whatever is printed. Both are pipes."""
    _confine(call.memory_bytes, output.fileno())
    outcome: Succeeded | Failed
    try:
        outcome = _run(call)
    except BaseException as error:  # noqa: BLE001 - foreign code: whatever it raises becomes the outcome
        traceback.print_exc()
        outcome = replace(failure_of(error), artifacts=call.context.artifacts)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    answer.send_bytes(sent(outcome))
    answer.close()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # no exit handlers of foreign code, no waiting for its threads


def load(path: str) -> Handler:
    """The handler at `module:name`."""
    module, _, name = path.partition(":")
    handler = getattr(importlib.import_module(module), name)
    if not isinstance(handler, Handler):
        raise TypeError(f"{path} is no task handler")
    return handler


def _run(call: Call) -> Succeeded | Failed:
    handler = load(call.handler)
    result = handler.function(call.context, handler.parameters.model_validate(call.parameters))
    return checked(result, call.result_bytes, call.context)


def checked(result: object, limit: int, context: TaskContext) -> Succeeded | Failed:
    """A handler's return value as an outcome: an object that JSON can carry, and not too large."""
    if result is None:
        result = {}
    if not isinstance(result, dict):
        what = type(result).__name__
        return Failed(f"the handler returned {what}, not an object", FailureReason.ERROR, permanent=True)
    try:
        size = len(orjson.dumps(result, default=str))
    except TypeError as error:
        return Failed(f"the result is no JSON: {error}", FailureReason.ERROR, permanent=True)
    if size > limit:
        sentence = f"the result has {size} bytes, {limit} are allowed: save an artifact instead"
        return Failed(sentence, FailureReason.ERROR, permanent=True, artifacts=context.artifacts)
    return Succeeded(result, context.artifacts)


def _confine(memory_bytes: int, output: int) -> None:
    os.setsid()  # one group to kill, whatever the handler forks
    # The fork server lives as long as anybody holds this; a killed worker must take it along, and it us.
    os.close(forkserver._forkserver._forkserver_alive_fd)  # type: ignore[attr-defined]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ.update({"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"})
