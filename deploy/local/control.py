"""Start and stop one local stack from the command line's side: checks first, then the supervisor, then waiting."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from urllib.parse import urlsplit

import psutil

from deploy.local.errors import StackError
from deploy.local.jars import classpath
from deploy.local.kafka import answers
from deploy.local.ports import is_free, owner
from deploy.local.postgres import refusal
from deploy.local.probes import readiness
from deploy.local.processes import leftovers, sweep
from deploy.local.server import last_line, wait_until
from deploy.local.settings import PROJECT_ROOT, SERVICES, LocalSettings
from deploy.local.state import StackState, read_state, supervisor_lives, try_lock, wait_lock

START_TIMEOUT = 180.0
READY_TIMEOUT = 90.0
STOP_TIMEOUT = 60.0
NEEDED_SPACE = 500_000_000
"""Bytes that a fresh stack fills in its first hours."""
DEATHS_ALLOWED = 3
"""Deaths of one process during the start after which waiting on is pointless."""

Say = Callable[[str], None]


def start(settings: LocalSettings, say: Say) -> bool:
    """Start the stack and wait until it is ready; returns False when it was running already.

    Raises StackError when it cannot start; whatever had been started is stopped then. KeyboardInterrupt too stops it.
    """
    _make_home(settings)
    lock = try_lock(settings.home / "start.lock")
    if lock is None:
        say("Another start or stop of this stack is under way; waiting for it …")
        lock = wait_lock(settings.home / "start.lock")
    with closing(lock):
        if supervisor_lives(settings.home):
            running = read_state(settings.home)
            _wait_ready(_as_running(settings, running), say, None)
            return False
        _clear_leftovers(settings, say)
        _check(settings)
        if settings.foreign_kafka is None:
            classpath(settings.cache, say)
        supervisor = _launch_supervisor(settings)
        try:
            _wait_ready(settings, say, supervisor)
        except BaseException:
            say("Stopping what was started …")
            _stop_supervisor(settings, supervisor.pid)
            raise
        return True


def stop(settings: LocalSettings) -> bool:
    """Stop the stack; returns whether anything ran."""
    if not settings.home.exists():
        return False
    with closing(wait_lock(settings.home / "start.lock")):
        if supervisor_lives(settings.home):
            state = read_state(settings.home)
            if state is None:
                raise StackError(
                    f"{settings.home}/stack.json cannot be read: end the supervisor by hand and start again."
                )
            _stop_supervisor(settings, state.supervisor)
            return True
        return sweep(settings.home) > 0


def as_running(settings: LocalSettings) -> tuple[LocalSettings, StackState | None]:
    """The settings the running stack was started with, where they differ from the environment, and its state."""
    state = read_state(settings.home) if supervisor_lives(settings.home) else None
    return _as_running(settings, state), state


def _as_running(settings: LocalSettings, state: StackState | None) -> LocalSettings:
    return settings if state is None else settings.with_ports(**state.ports)


def _make_home(settings: LocalSettings) -> None:
    way_out = "make space or mend its permissions, or set COMMANDCENTER_HOME to another directory"
    try:
        for directory in (settings.home, settings.home / "logs", settings.home / "pids"):
            directory.mkdir(parents=True, exist_ok=True)
        probe = settings.home / "logs" / ".probe"
        probe.write_text("is it possible to write here?", encoding="ascii")
        probe.unlink()
    except OSError as error:
        raise StackError(f"{settings.home} cannot be written ({error.strerror or error}): {way_out}.") from error
    free = shutil.disk_usage(settings.home).free
    if free < NEEDED_SPACE:
        raise StackError(f"Only {free // 1_000_000} MB are free for {settings.home} and 500 are needed: {way_out}.")


def _clear_leftovers(settings: LocalSettings, say: Say) -> None:
    found = leftovers(settings.home)
    if found:
        say(f"The supervisor of an earlier start is gone; ending the {len(found)} processes it left behind …")
    sweep(settings.home)


def _check(settings: LocalSettings) -> None:
    wanted = dict(settings.own_ports)
    if settings.foreign_kafka is None:
        # The controller's port has no variable of its own: it follows the broker's.
        wanted["COMMANDCENTER_KAFKA_PORT (its controller uses the next port)"] = settings.kafka_controller_port
    taken: dict[int, str] = {}
    for variable, port in wanted.items():
        if port in taken:
            raise StackError(
                f"Port {port} is wanted by both {taken[port]} and {variable}: give one of them another port."
            )
        taken[port] = variable
        if not is_free(port):
            who = owner(port)
            raise StackError(
                f"Port {port} is in use{f' by {who}' if who else ''}: "
                f"stop that program, or set {variable} to a free port."
            )
    if settings.foreign_database_url is not None and (why := refusal(settings.foreign_database_url)):
        raise StackError(
            f"The database named by COMMANDCENTER_DATABASE_URL cannot be used ({why}): "
            "mend it, or unset the variable to use the embedded one."
        )
    if settings.foreign_kafka is not None and not any(_broker_answers(at) for at in settings.foreign_kafka.split(",")):
        raise StackError(
            f"No broker answers at {settings.foreign_kafka} (COMMANDCENTER_KAFKA_BOOTSTRAP_SERVERS): "
            "start it, or unset the variable to use the embedded one."
        )


def _broker_answers(address: str) -> bool:
    parts = urlsplit(f"//{address.strip()}")
    try:
        return answers(parts.hostname or "127.0.0.1", parts.port or 9092, timeout=5.0)
    except ValueError:
        return False  # not an address at all


def _launch_supervisor(settings: LocalSettings) -> subprocess.Popen[bytes]:
    (settings.home / "stack.json").unlink(missing_ok=True)
    with (settings.home / "logs" / "supervisor.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "deploy.local.supervisor"],
            cwd=PROJECT_ROOT,
            env={**os.environ, "COMMANDCENTER_HOME": str(settings.home)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for us; we then end it in order
        )


def _wait_ready(settings: LocalSettings, say: Say, supervisor: subprocess.Popen[bytes] | None) -> None:
    """Wait until every service is ready. `supervisor` is the one we started, None for one that ran already."""
    said, running_since = "", None
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        state = read_state(settings.home)
        if state is not None:
            _judge(settings, state)
            if state.phase != said and supervisor is not None:
                say(f"  {state.phase} …" if state.phase != "running" else "  waiting until all services are ready …")
                said = state.phase
            if state.phase == "running":
                running_since = running_since or time.monotonic()
                waiting = {name: why for name in SERVICES if (why := _why_not_ready(settings, name)) is not None}
                if not waiting:
                    return
                if time.monotonic() - running_since > READY_TIMEOUT:
                    name, why = next(iter(waiting.items()))
                    log = settings.home / "logs" / f"{name}.log"
                    raise StackError(f"{name} did not become ready in {READY_TIMEOUT:.0f} s: {why} (log: {log})")
        if supervisor is not None and supervisor.poll() is not None:
            state = read_state(settings.home)
            if state is not None:
                _judge(settings, state)
            log = settings.home / "logs" / "supervisor.log"
            raise StackError(f"The supervisor ended during the start: {last_line(log)} (log: {log})")
        if supervisor is None and not supervisor_lives(settings.home):
            raise StackError("The running stack was stopped meanwhile: start it again.")
        if time.monotonic() > deadline:
            raise StackError(f"The stack was not ready after {START_TIMEOUT:.0f} s (logs: {settings.home}/logs).")
        time.sleep(0.05)


def _judge(settings: LocalSettings, state: StackState) -> None:
    """Raise what makes waiting pointless."""
    if state.failure:
        raise StackError(state.failure)
    for name, process in state.processes.items():
        if process.restarts >= DEATHS_ALLOWED:
            log = settings.home / "logs" / f"{name}.log"
            raise StackError(f"{name} keeps dying ({process.last_end}): {last_line(log)} (log: {log})")


def _why_not_ready(settings: LocalSettings, service: str) -> str | None:
    ready, why = readiness(settings.url(service))
    return None if ready else why


def _stop_supervisor(settings: LocalSettings, pid: int) -> None:
    """End the supervisor and with it the stack. The pid is certain: who holds the home's lock wrote it."""
    _signal(pid, signal.SIGCONT)
    _signal(pid, signal.SIGTERM)
    if not wait_until(lambda: not supervisor_lives(settings.home) and not _alive(pid), STOP_TIMEOUT):
        _signal(pid, signal.SIGKILL)
        wait_until(lambda: not supervisor_lives(settings.home), 5)
    sweep(settings.home)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it has ended, which is what is wanted


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
