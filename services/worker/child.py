"""What runs inside a child process: one attempt of a heavy handler, its limits set, its answer sent back.

Started by the process lane through multiprocessing's fork server, which imports this module once; each attempt is then
a fork of a clean, single-threaded process, and nothing of one run is left for the next: memory and threads end with the
process, files with the folder that is its temporary one.
"""

import ctypes
import importlib
import os
import resource
import signal
import sys
import tempfile
import traceback
from dataclasses import dataclass, replace
from multiprocessing import forkserver
from typing import Any, cast

from services.worker.attempt import Failed, Succeeded, failure_of, sent, unfit
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


def main(call: Call, answer: Any, output: Any, scratch: str) -> None:
    """Run the attempt and write its outcome as the only line. `output` takes whatever is printed. Both are pipes.

    `scratch`: the folder for temporary files, removed by the worker however the attempt ends.
    """
    _confine(call.memory_bytes, output.fileno(), scratch)
    outcome: Succeeded | Failed
    try:
        outcome = _run(call)
    except BaseException as error:  # noqa: BLE001 - foreign code: whatever it raises becomes the outcome
        outcome = replace(failure_of(error, call.result_bytes), artifacts=call.context.artifacts)
        print_traceback(error)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    _write(answer.fileno(), sent(outcome) + b"\n")
    os._exit(0)  # no exit handlers of foreign code, no waiting for its threads


def print_traceback(error: BaseException) -> None:
    """For whoever reads the output; an exception that cannot even be shown must not cost the outcome."""
    try:
        traceback.print_exception(error)
        sys.stderr.flush()
    except Exception:  # noqa: BLE001, S110 - foreign __str__, closed streams: the outcome says what can be said
        pass


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


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
    """A handler's return value as an outcome."""
    given = {} if result is None else result
    trouble = unfit(given, limit)
    if trouble is not None:
        return Failed(trouble, FailureReason.ERROR, permanent=True, artifacts=context.artifacts)
    return Succeeded(cast("dict[str, Any]", given), context.artifacts)


def _confine(memory_bytes: int, output: int, scratch: str) -> None:
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
    os.environ.update({"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "TMPDIR": scratch})
    tempfile.tempdir = scratch
