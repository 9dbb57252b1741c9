"""Task types that do what a worker must survive, plugged into real workers by an entry point (see `installed`)."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from pydantic import field_validator

from services.worker.task import PermanentError, TaskContext, task
from tests.integration.worker.plug_in import Nothing, leave_mark


class Odd(BaseException):
    """No Exception: what catches only those lets it pass."""


class Odder(Nothing):
    """Parameters whose validation raises what no validation should."""

    @field_validator("how")
    @classmethod
    def _odd(cls, how: str) -> str:
        if how == "exit":
            sys.exit(5)
        raise LookupError("odd")


class Unschemed(Nothing):
    """Parameters that no JSON Schema can describe."""

    what: Callable[[], int] = time.monotonic_ns


class Mute(Exception):
    """Cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@task("hostile", Nothing, concurrency=4)
def hostile(context: TaskContext, parameters: Nothing) -> Any:
    """Do it in a process of its own."""
    if parameters.how.endswith("_files"):
        for number in range({"many_files": 1_000, "too_many_files": 1_001}[parameters.how]):
            context.save(f"{'n' * 100}{number}", BytesIO(b"x"), "text/plain")
        return {}
    if parameters.how == "same_file":
        for content in (b"first", b"second!"):
            context.save("report.txt", BytesIO(content), "text/plain")
        return {}
    return _IN_A_PROCESS[parameters.how](parameters)


@task("hostile_coroutine", Nothing)
async def hostile_coroutine(_context: TaskContext, parameters: Nothing) -> Any:
    """Do it on the event loop that all coroutines share."""
    match parameters.how:
        case "exit_beside":
            beside = asyncio.get_running_loop().create_task(_exit())
            await asyncio.sleep(0.2)
            return {"ended": beside.done()}
        case "stop_loop":
            asyncio.get_running_loop().stop()
            await asyncio.sleep(0.2)
            return {}
        case "fork":
            return await _fork_here(parameters)
        case "hard_exit_of_a_thread":
            await asyncio.to_thread(os._exit, 7)
        case "thread":
            threading.Thread(target=time.sleep, args=(600,), daemon=False).start()
            asyncio.get_running_loop().run_in_executor(None, time.sleep, 600)
            return {}
        case "block":
            leave_mark(parameters, "blocking")
            time.sleep(600)  # noqa: ASYNC251 - the fault itself
            return {}
    return _ANYWHERE[parameters.how](parameters)


@task("odd_parameters", Odder)
async def odd_parameters(_context: TaskContext, _parameters: Odder) -> dict[str, Any]:
    """Never get here."""
    return {}


@task("unschemed", Unschemed)
async def unschemed(_context: TaskContext, _parameters: Unschemed) -> dict[str, Any]:
    """Never be served."""
    return {}


async def _fork_here(parameters: Nothing) -> dict[str, Any]:
    """Two copies of the worker: one returns as if it were the worker, one goes on to the loop."""
    returns = os.fork()
    if returns == 0:
        return {}
    goes_on = os.fork()
    if goes_on == 0:
        await asyncio.sleep(0)
        leave_mark(parameters, "a copy went on")
        return {}
    return {"codes": [os.waitpid(pid, 0)[1] for pid in (returns, goes_on)]}  # noqa: ASYNC222 - they end at once


async def _exit() -> None:
    sys.exit(4)


def _raise(error: BaseException) -> Callable[[Nothing], Any]:
    def raises(_parameters: Nothing) -> Any:
        raise error

    return raises


def _kill_group(_parameters: Nothing) -> None:
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _ignore_cancel(parameters: Nothing) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    leave_mark(parameters, str(os.getpid()))
    time.sleep(600)


def _leak(_parameters: Nothing) -> None:
    held = []
    while True:
        held.append(bytearray(64 << 20))


def _print(_parameters: Nothing) -> dict[str, Any]:
    line = b"x" * (1 << 20)
    for _ in range(1024):
        os.write(1, line)
    return {"printed": "a gigabyte"}


def _fork(parameters: Nothing) -> dict[str, Any]:
    leave_mark(parameters, str(subprocess.Popen(["sleep", "600"]).pid))
    leave_mark(parameters, str(subprocess.Popen(["setsid", "sleep", "601"]).pid))
    return {}


def _bomb(parameters: Nothing) -> None:
    """Daemons of daemons, each in a session of its own and deaf to SIGTERM: 40 in all."""
    for _ in range(8):
        if os.fork() == 0:
            for _ in range(4):
                _daemon(parameters)
            _daemon(parameters)
            os._exit(0)
    time.sleep(1)
    os._exit(9)


def _daemon(parameters: Nothing) -> None:
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        leave_mark(parameters, str(os.getpid()))
        time.sleep(600)
        os._exit(0)


def _segfault(_parameters: Nothing) -> None:
    ctypes.string_at(0)


def _close_everything(_parameters: Nothing) -> None:
    os.closerange(0, 4096)


def _threads(_parameters: Nothing) -> dict[str, Any]:
    for _ in range(5):
        threading.Thread(target=time.sleep, args=(600,), daemon=False).start()
    return {"threads": threading.active_count()}


def _write_everywhere(_parameters: Nothing) -> None:
    """Half an answer into every pipe there is, then nothing."""
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b'{"artifacts":')
        except OSError:
            continue
    time.sleep(600)


def _false_answer(_parameters: Nothing) -> None:
    """An answer that is none, into every pipe there is."""
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b'{"artifacts": [], "result": [1, 2]}\n')
        except OSError:
            continue
    time.sleep(600)


def _litter(parameters: Nothing) -> None:
    folder = Path(tempfile.mkdtemp())
    (folder / "large").write_bytes(b"x" * (1 << 20))
    leave_mark(parameters, str(folder))
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_server(_parameters: Nothing) -> None:
    """The process that all the others were forked from."""
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)


_ANYWHERE: dict[str, Callable[[Nothing], Any]] = {
    "exit": lambda _: sys.exit(3),
    "hard_exit": lambda _: os._exit(7),
    "base_exception": _raise(Odd("odd")),
    "interrupt": _raise(KeyboardInterrupt()),
    "odd_words": _raise(RuntimeError("cannot read \udcff\x00.txt " + "x" * 3_000_000)),
    "no_words": _raise(Mute()),
    "odd_reason": _raise(PermanentError("no", reason="\udcff" * 10_000)),
    "large_failure": _raise(PermanentError("no", result={"text": "x" * 3_000_000})),
    "no_json_failure": _raise(PermanentError("no", result={"text": "\udcff"})),
    "large": lambda _: {"text": "x" * 1_000_000},
    "wrong": lambda _: "no object",
    "no_json": lambda _: {1: object()},
    "no_text": lambda _: {"text": "\udcff"},
}
_IN_A_PROCESS: dict[str, Callable[[Nothing], Any]] = _ANYWHERE | {
    "kill_parent_group": _kill_group,
    "ignore_cancel": _ignore_cancel,
    "leak": _leak,
    "print": _print,
    "fork": _fork,
    "bomb": _bomb,
    "segfault": _segfault,
    "close_everything": _close_everything,
    "threads": _threads,
    "write_everywhere": _write_everywhere,
    "false_answer": _false_answer,
    "litter": _litter,
    "kill_server": _kill_server,
}
