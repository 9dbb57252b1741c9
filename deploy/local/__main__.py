"""`python -m deploy.local start|stop|status|logs`: what the Makefile calls.

Every way to fail ends in one sentence on standard error and a non-zero exit code.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType

import psutil

from deploy.local import control, logs
from deploy.local.errors import StackError
from deploy.local.ports import is_free
from deploy.local.probes import readiness
from deploy.local.processes import leftovers
from deploy.local.settings import SERVICES, LocalSettings, read_settings
from deploy.local.state import StackState

INTERRUPTED = 130


def say(text: str) -> None:
    """Print a line at once, also into a pipe. A reader that has gone (`make start | head`) ends no stack."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def start(settings: LocalSettings) -> int:
    """Start the stack, or find it running, and print where it answers."""
    began = time.monotonic()
    fresh = control.start(settings, say)
    running, state = control.as_running(settings)
    say(f"CommandCenter is ready ({time.monotonic() - began:.1f} s)." if fresh else "CommandCenter is already running.")
    if running.ports != settings.ports:
        say("  It runs on other ports than the environment names now: stop it first to move it.")
    _print_addresses(running, state)
    return 0


def _print_addresses(settings: LocalSettings, state: StackState | None) -> None:
    api = settings.url("api")
    say(f"  API         {api}/api/v1/schedules   (documentation: {api}/docs)")
    say(f"  Probes      {', '.join(f'{name} {settings.url(name)}/readyz' for name in SERVICES)}")
    own = state.processes if state is not None else {}
    kafka = settings.kafka_bootstrap_servers if "kafka" in own else settings.foreign_kafka
    say(f"  Kafka       {kafka}")
    if "postgres" in own:
        say(f"  PostgreSQL  {settings.database_url.replace('+psycopg2', '')}")
    say(f"  State       {settings.home} (logs, pids)")
    say("  Next        make status · make logs · make demo · make stop")


def stop(settings: LocalSettings) -> int:
    """Stop the stack."""
    say("CommandCenter is stopped." if control.stop(settings) else "CommandCenter was not running.")
    return 0


def status(settings: LocalSettings) -> int:
    """Print a table; 0 only when everything is ready."""
    running, state = control.as_running(settings)
    if state is None:
        left = len(leftovers(settings.home))
        say(
            f"The supervisor is gone and {left} processes of this stack go on without it:"
            " make start begins anew with the same data, make stop ends them."
            if left
            else "CommandCenter is not running (make start)."
        )
        return 1
    # The state comes last: it may be a sentence.
    rows = [("NAME", "PID", "PORT", "RESTARTS", "UPTIME", "STATE")]
    all_ready = state.phase == "running"
    rows.append(("supervisor", str(state.supervisor), "", "", _uptime(state.supervisor), state.phase))
    for name, process in state.processes.items():
        ready, why = _ready(running, name)
        all_ready = all_ready and ready
        text = "ready" if ready else f"not ready: {why}"
        if process.pid is None:
            text = f"down ({process.last_end}), starts again"
        pid = str(process.pid or "-")
        rows.append((name, pid, str(running.ports[name]), str(process.restarts), _uptime(process.pid), text))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        say("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    return 0 if all_ready else 1


def _ready(settings: LocalSettings, name: str) -> tuple[bool, str]:
    if name in SERVICES:
        return readiness(settings.url(name))
    return (False, "the port is closed") if is_free(settings.ports[name]) else (True, "")


def _uptime(pid: int | None) -> str:
    try:
        seconds = int(time.time() - psutil.Process(pid).create_time()) if pid is not None else None
    except psutil.NoSuchProcess:
        seconds = None
    if seconds is None:
        return "-"
    hours, rest = divmod(max(0, seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"


def show_logs(settings: LocalSettings) -> int:
    """Follow the logs; SERVICE names one of them, FOLLOW=0 prints all there is and ends."""
    only = os.environ.get("SERVICE") or None
    try:
        logs.show(
            settings.home / "logs", only, os.environ.get("FOLLOW", "1") != "0", lambda line: print(line, flush=True)
        )
    except (KeyboardInterrupt, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more to say to a reader that has gone
    return 0


COMMANDS = {"start": start, "stop": stop, "status": status, "logs": show_logs}


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str]) -> int:
    """Run one command; returns its exit code."""
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        print(f"usage: python -m deploy.local {'|'.join(COMMANDS)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _interrupt)  # a start that is told to end must not leave half a stack
    try:
        return COMMANDS[arguments[0]](read_settings())
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; nothing was left running." if arguments[0] == "start" else "Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:  # the disk fills up, a directory vanishes: still one sentence
        print(
            f"{arguments[0]} failed: {error}. Make space or mend permissions, or set COMMANDCENTER_HOME.",
            file=sys.stderr,
        )
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
