"""Real api, worker and health processes beside a test's dispatchers."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from deploy.local.ports import free_ports
from deploy.local.settings import PROJECT_ROOT
from tests.dispatching import Dispatchers
from tests.http import call
from tests.waiting import eventually


@dataclass
class Service:
    """A real api, worker or health."""

    process: subprocess.Popen[bytes]
    port: int

    def ready(self) -> bool:
        """Whether it says so."""
        assert self.process.poll() is None, "it has ended"
        try:
            return call(f"http://127.0.0.1:{self.port}/readyz", timeout=2)[0] == 200
        except OSError:
            return False


class Services:
    """Starts services on the database and the topics of the test's dispatchers."""

    def __init__(self, dispatchers: Dispatchers, home: Path) -> None:
        self._dispatchers, self._home = dispatchers, home
        self._started: list[Service] = []

    def start(self, name: str, **settings: str) -> Service:
        """Start one and wait until it is ready."""
        port = free_ports(1)[0]
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("COMMANDCENTER_")},
            "COMMANDCENTER_DATABASE_URL": self._dispatchers.database_url,
            "COMMANDCENTER_KAFKA_BOOTSTRAP_SERVERS": self._dispatchers.kafka,
            "COMMANDCENTER_TOPIC_PREFIX": self._dispatchers.prefix,
            "COMMANDCENTER_TOPIC_PARTITIONS": "2",
            f"COMMANDCENTER_{name.upper()}_PORT": str(port),
            "COMMANDCENTER_HOME": str(self._home),
            **settings,
        }
        with (self._home / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"services.{name}"], cwd=PROJECT_ROOT, env=environment, stdout=log, stderr=log
            )
        service = Service(process, port)
        self._started.append(service)
        eventually(service.ready, 40, f"{name} is ready")
        return service

    def stop(self) -> None:
        """End all."""
        for service in self._started:
            service.process.terminate()
        for service in self._started:
            service.process.wait(20)
