"""A whole running CommandCenter for tests: started, asked and stopped as its users do it, by the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.local.ports import free_ports
from deploy.local.settings import PROJECT_ROOT, SERVICES
from deploy.local.supervisor import WATCHED_VARIABLE

START_TIMEOUT = 300


class Stack:
    """One stack with a home and ports of its own. Without given servers it runs its own Kafka and PostgreSQL."""

    def __init__(self, home: Path, environment: Mapping[str, str] | None = None) -> None:
        """`environment`: settings for the stack and its services, for example the servers to use."""
        self.home = home
        *services, kafka, _controller, postgres = free_ports(len(SERVICES) + 3)
        self.ports = dict(zip((*SERVICES, "kafka", "postgres"), (*services, kafka, postgres), strict=True))
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("COMMANDCENTER_")}
        kept = {name: os.environ[name] for name in ("COMMANDCENTER_CACHE",) if name in os.environ}
        self.environment = {
            **inherited,
            **kept,
            "COMMANDCENTER_HOME": str(home),
            **{f"COMMANDCENTER_{name.upper()}_PORT": str(port) for name, port in self.ports.items()},
            WATCHED_VARIABLE: str(os.getpid()),
            **(environment or {}),
        }

    @property
    def api_url(self) -> str:
        """Where the API answers."""
        return self.url("api")

    @property
    def database_url(self) -> str:
        """The database the services work on."""
        own = f"postgresql+psycopg2://commandcenter@127.0.0.1:{self.ports['postgres']}/commandcenter"
        return self.environment.get("COMMANDCENTER_DATABASE_URL", own)

    @property
    def bootstrap_servers(self) -> str:
        """The Kafka the services work on."""
        return self.environment.get("COMMANDCENTER_KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{self.ports['kafka']}")

    @property
    def topic_prefix(self) -> str:
        """What the names of its topics begin with."""
        return self.environment.get("COMMANDCENTER_TOPIC_PREFIX", "commandcenter.")

    def url(self, service: str) -> str:
        """Where that service's probes answer."""
        return f"http://127.0.0.1:{self.ports[service]}"

    def run(self, command: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """`start`, `stop`, `status` or `logs`, with its output."""
        return subprocess.run(
            [sys.executable, "-m", "deploy.local", command],
            cwd=PROJECT_ROOT,
            env={**self.environment, **extra},
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT,
            check=False,
        )

    def start(self) -> Stack:
        """Start and wait until ready. Raises with what it said when it does not start."""
        result = self.run("start")
        if result.returncode != 0:
            raise RuntimeError(f"the stack did not start:\n{result.stdout}{result.stderr}{self.log_tails()}")
        return self

    def stop(self) -> None:
        """Stop everything."""
        result = self.run("stop")
        if result.returncode != 0:
            raise RuntimeError(f"the stack did not stop:\n{result.stdout}{result.stderr}")

    def ready(self) -> bool:
        """Whether everything is ready now."""
        return self.run("status").returncode == 0

    def pid(self, name: str) -> int:
        """The process id of api, dispatcher, worker, health, kafka, postgres or supervisor."""
        return int((self.home / "pids" / f"{name}.pid").read_text(encoding="ascii"))

    def signal(self, name: str, number: signal.Signals) -> int:
        """Send a signal to one of its processes; returns the process id it had."""
        pid = self.pid(name)
        os.kill(pid, number)
        return pid

    def kill(self, name: str) -> int:
        """kill -9 one of its processes; returns the process id it had."""
        return self.signal(name, signal.SIGKILL)

    def log(self, name: str) -> str:
        """Everything that process has logged."""
        return (self.home / "logs" / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def log_tails(self, lines: int = 15) -> str:
        """The last lines of every service's log, for the message of a failing test."""
        tails = []
        for name in ("supervisor", "migrations", *SERVICES):
            path = self.home / "logs" / f"{name}.log"
            if path.exists():
                last = path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
                tails.append("\n".join([f"--- {name}", *last]))
        return "\n".join(tails)

    def __enter__(self) -> Stack:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
