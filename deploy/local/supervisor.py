"""Keeps one local stack running. Started, detached, by `python -m deploy.local start`; ended by SIGTERM.

Starts Kafka and PostgreSQL, runs the migration step, starts the services, and from then on starts again what dies.
It judges only whether processes live; whether they are ready is asked by the command line.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import psutil

from deploy.local.errors import StackError
from deploy.local.kafka import KafkaServer
from deploy.local.liveness import Liveness
from deploy.local.managed import Managed
from deploy.local.postgres import OrphanWait, PostgresServer
from deploy.local.processes import marks, record_pid
from deploy.local.server import Launch, Server, last_line, spawn
from deploy.local.settings import SERVICES, LocalSettings, read_settings
from deploy.local.state import ProcessState, StackState, try_lock, write_state

POLL = 0.05
GRACE = 15.0
"""Seconds a process gets to end by itself."""
SERVER_START = 90.0
MIGRATION = 300.0
LOG_LIMIT = 20_000_000
"""Bytes of a log after which it is cut; the part before is kept as `<name>.log.1`."""
LOG_CHECK = 5.0
WATCHED_VARIABLE = "COMMANDCENTER_STACK_WATCHED_PID"
"""A test run's process id: when it is gone, so is the stack it started."""

log = logging.getLogger("supervisor")


class _StopRequestedError(Exception):
    """SIGTERM came while the stack was starting."""


class Supervisor:
    """The processes of one stack."""

    def __init__(self, settings: LocalSettings, watched: int | None) -> None:
        self._settings = settings
        self._watched = watched
        self._home = settings.home
        self._logs = settings.home / "logs"
        self._state = StackState(supervisor=os.getpid(), ports=dict(settings.ports), host=settings.host)
        self._managed: dict[str, Managed] = {}
        self._liveness = Liveness({name: settings.url(name) for name in SERVICES})
        self._stop = False
        self._next_log_check = 0.0

    def run(self) -> int:
        """Start everything, keep it running until SIGTERM, stop everything; returns the exit code."""
        signal.signal(signal.SIGTERM, self._ask_stop)
        signal.signal(signal.SIGINT, self._ask_stop)
        record_pid(self._home, "supervisor", os.getpid())
        try:
            self._start()
            while not self._stop:
                self._turn()
        except _StopRequestedError:
            log.info("event=stop_during_start")
        except StackError as error:
            log.error('event=start_failed why="%s"', error)  # noqa: TRY400 - the sentence is the whole story
            self._state.failure = str(error)
        except OSError as error:  # the disk is full, or the home is gone: the same promise holds, nothing half-started
            log.exception("event=start_failed")
            self._state.failure = f"{self._home} cannot be used ({error}): make space there, or set COMMANDCENTER_HOME."
        self._end()
        return 1 if self._state.failure else 0

    def _ask_stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stop = True

    def _start(self) -> None:
        servers: list[Server] = []
        if self._settings.foreign_database_url is None:
            self._phase("starting PostgreSQL")
            postgres = self._postgres()
            servers.append(self._server(postgres, lambda: OrphanWait(postgres.data).over))
        if self._settings.foreign_kafka is None:
            self._phase("starting Kafka")
            servers.append(self._server(self._kafka(), lambda: lambda: True))
        for server in servers:
            self._await_server(server)
        self._phase("bringing the database to the newest schema")
        self._migrate()
        self._phase("starting the services")
        for name in SERVICES:
            self._add(self._service(name))
        self._liveness.start()
        self._phase("running")

    def _postgres(self) -> PostgresServer:
        return PostgresServer(self._home / "postgres", self._settings.ports["postgres"], log=self._log_of("postgres"))

    def _kafka(self) -> KafkaServer:
        return KafkaServer(
            self._home / "kafka",
            self._settings.ports["kafka"],
            cache=self._settings.cache,
            heap=self._settings.kafka_heap,
            controller_port=self._settings.kafka_controller_port,
            log=self._log_of("kafka"),
        )

    def _service(self, name: str) -> Launch:
        return Launch(
            name=name,
            command=(sys.executable, "-m", f"services.{name}"),
            log=self._log_of(name),
            environment=self._settings.environment(),
        )

    def _server(self, server: Server, may_start: Callable[[], Callable[[], bool]]) -> Server:
        server.prepare()
        self._add(server.launch(), may_start)
        return server

    def _add(self, launch: Launch, may_start: Callable[[], Callable[[], bool]] = lambda: lambda: True) -> None:
        state = self._state.processes[launch.name] = ProcessState()
        managed = self._managed[launch.name] = Managed(launch, self._home, state, may_start)
        managed.start()
        self._save()

    def _await_server(self, server: Server) -> None:
        state, log_file = self._state.processes[server.name], self._log_of(server.name)
        deadline = time.monotonic() + SERVER_START
        while not server.is_ready():
            if state.restarts or time.monotonic() > deadline:
                how = state.last_end or f"not ready after {SERVER_START:.0f} s"
                raise StackError(f"{server.name} does not start ({how}): {last_line(log_file)} (log: {log_file})")
            self._turn_while_starting()

    def _migrate(self) -> None:
        log_file = self._log_of("migrations")
        step = spawn(
            Launch(
                name="migrations",
                command=(sys.executable, "-m", "migrations"),
                log=log_file,
                environment={**self._settings.migrations_environment(), **marks(self._home, "migrations")},
            )
        )
        deadline = time.monotonic() + MIGRATION
        try:
            while step.poll() is None:
                if time.monotonic() > deadline:
                    raise StackError(f"The migration step did not end in {MIGRATION:.0f} s (log: {log_file}).")
                self._turn_while_starting()
        finally:
            _end_step(step)
        if step.returncode != 0:
            raise StackError(f"The migration step failed: {last_line(log_file)} (log: {log_file})")

    def _turn_while_starting(self) -> None:
        self._turn()
        if self._stop:
            raise _StopRequestedError

    def _turn(self) -> None:
        """Look at every process once."""
        time.sleep(POLL)
        changed = [name for name, managed in self._managed.items() if managed.watch()]
        for name in changed:
            self._liveness.restarted(name)
        if changed:
            self._save()
        for name, said in self._liveness.given_up().items():
            self._managed[name].give_up(said)
            self._liveness.restarted(name)
        if time.monotonic() >= self._next_log_check:
            self._next_log_check = time.monotonic() + LOG_CHECK
            cut_logs(self._logs)
            if self._watched is not None and not psutil.pid_exists(self._watched):
                log.info("event=stop_with_watched_process watched=%d", self._watched)
                self._stop = True

    def _end(self) -> None:
        """Stop in reverse order: the services, then what they stand on."""
        self._liveness.stop()
        self._phase("stopping")
        services = [self._managed[name] for name in reversed(SERVICES) if name in self._managed]
        servers = [managed for name, managed in self._managed.items() if name not in SERVICES]
        for group in (services, servers):
            for managed in group:
                managed.ask_to_end()
            deadline = time.monotonic() + GRACE
            for managed in group:
                managed.wait_end(max(0.0, deadline - time.monotonic()))
        self._phase("stopped")
        record_pid(self._home, "supervisor", None)

    def _phase(self, phase: str) -> None:
        log.info('event=phase phase="%s"', phase)
        self._state.phase = phase
        self._save()

    def _save(self) -> None:
        try:
            write_state(self._home, self._state)
        except OSError:
            # A full disk must not end what still runs: the processes go on, only this note about them is old.
            log.exception("event=state_not_written")

    def _log_of(self, name: str) -> Path:
        return self._logs / f"{name}.log"


def cut_logs(logs: Path, limit: int = LOG_LIMIT) -> None:
    """Move the content of every log that is too long to `<name>.log.1`.

    Copied and cut in place, since its process goes on writing to the same file; the few lines written in between are
    lost.
    """
    for path in logs.glob("*.log"):
        try:
            if path.stat().st_size > limit:
                with path.open("rb") as old, path.with_suffix(".log.1").open("wb") as kept:
                    while chunk := old.read(1_000_000):
                        kept.write(chunk)
                os.truncate(path, 0)
        except OSError:
            log.exception("event=log_not_cut log=%s", path)


def _end_step(step: subprocess.Popen[bytes]) -> None:
    if step.poll() is None:
        step.terminate()
        try:
            step.wait(GRACE)
        except subprocess.TimeoutExpired:
            step.kill()
            step.wait()


def main() -> int:
    """Supervise the stack that the environment describes."""
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        stream=sys.stdout,
        level=logging.INFO,
        format="%(asctime)s.%(msecs)03dZ level=%(levelname)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    settings = read_settings()
    lock = try_lock(settings.home / "supervisor.lock")
    if lock is None:
        log.error("event=another_supervisor_works_here home=%s", settings.home)
        return 1
    with lock:
        watched = os.environ.pop(WATCHED_VARIABLE, None)
        return Supervisor(settings, int(watched) if watched else None).run()


if __name__ == "__main__":
    sys.exit(main())
