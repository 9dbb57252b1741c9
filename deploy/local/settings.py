"""Where the local stack lives and listens: read once from the environment by the command line and by tests.

The names are those the services read too (`COMMANDCENTER_…`), so one exported variable moves both sides.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.local.errors import StackError

PROJECT_ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("api", "dispatcher", "worker", "health")
DEFAULT_PORTS = {"api": 8000, "dispatcher": 8001, "worker": 8002, "health": 8003, "kafka": 9092, "postgres": 5433}
_LAST_PORT = 65_535


@dataclass(frozen=True)
class LocalSettings:
    """Everything that tells one local stack from another."""

    home: Path
    """State, logs and pids (`COMMANDCENTER_HOME`)."""
    cache: Path
    """Downloads shared by all stacks of this user (`COMMANDCENTER_CACHE`)."""
    host: str
    """Address the services listen on (`COMMANDCENTER_HOST`); the two servers always stay on loopback."""
    ports: Mapping[str, int]
    """Name of the process → its port (`COMMANDCENTER_<NAME>_PORT`)."""
    kafka_heap: str
    """Largest heap of the embedded Kafka, as java's -Xmx takes it (`COMMANDCENTER_KAFKA_HEAP`)."""
    foreign_database_url: str | None
    """A PostgreSQL of your own (`COMMANDCENTER_DATABASE_URL`): the embedded one is not started."""
    foreign_owner_url: str | None
    """That PostgreSQL for its tables' owner (`COMMANDCENTER_MIGRATIONS_DATABASE_URL`); none: the services own them."""
    foreign_kafka: str | None
    """A Kafka of your own (`COMMANDCENTER_KAFKA_BOOTSTRAP_SERVERS`): the embedded one is not started."""

    @property
    def database_url(self) -> str:
        """What the services are given, as SQLAlchemy reads it."""
        return (
            self.foreign_database_url
            or f"postgresql+psycopg2://commandcenter@127.0.0.1:{self.ports['postgres']}/commandcenter"
        )

    @property
    def owner_url(self) -> str:
        """What the migration step is given."""
        if self.foreign_database_url is not None:
            return self.foreign_owner_url or self.foreign_database_url
        return f"postgresql+psycopg2://commandcenter_owner@127.0.0.1:{self.ports['postgres']}/commandcenter"

    @property
    def kafka_bootstrap_servers(self) -> str:
        """What the services are given, as librdkafka reads it."""
        return self.foreign_kafka or f"127.0.0.1:{self.ports['kafka']}"

    @property
    def kafka_controller_port(self) -> int:
        """The port beside the broker's."""
        return self.ports["kafka"] + 1

    @property
    def processes(self) -> tuple[str, ...]:
        """The processes this stack runs itself, in the order they are started."""
        servers = [
            *(["kafka"] if self.foreign_kafka is None else []),
            *(["postgres"] if self.foreign_database_url is None else []),
        ]
        return (*servers, *SERVICES)

    @property
    def own_ports(self) -> dict[str, int]:
        """Port variable → port, for every port this stack must be able to open."""
        return {f"COMMANDCENTER_{name.upper()}_PORT": self.ports[name] for name in self.processes}

    def url(self, service: str) -> str:
        """Where a service answers, seen from this machine."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", ""} else self.host  # noqa: S104 - compared, not bound
        return f"http://{host}:{self.ports[service]}"

    def environment(self) -> dict[str, str]:
        """What the services are started with, on top of the caller's environment."""
        return {
            "COMMANDCENTER_HOME": str(self.home),
            "COMMANDCENTER_HOST": self.host,
            "COMMANDCENTER_DATABASE_URL": self.database_url,
            "COMMANDCENTER_KAFKA_BOOTSTRAP_SERVERS": self.kafka_bootstrap_servers,
            **{f"COMMANDCENTER_{name.upper()}_PORT": str(self.ports[name]) for name in SERVICES},
        }

    def migrations_environment(self) -> dict[str, str]:
        """The same for the migration step, which comes in as the owner."""
        return {**self.environment(), "COMMANDCENTER_MIGRATIONS_DATABASE_URL": self.owner_url}

    def with_ports(self, **ports: int) -> LocalSettings:
        """The same stack on other ports."""
        return replace(self, ports={**self.ports, **ports})


def read_settings(environ: Mapping[str, str] | None = None) -> LocalSettings:
    """Read the environment. Raises StackError for a port that is not one."""
    env = os.environ if environ is None else environ
    ports = {name: _port(env, f"COMMANDCENTER_{name.upper()}_PORT", default) for name, default in DEFAULT_PORTS.items()}
    if ports["kafka"] == _LAST_PORT:
        raise StackError("COMMANDCENTER_KAFKA_PORT=65535 leaves no port for the controller, which takes the next one.")
    cache_root = Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return LocalSettings(
        home=Path(env.get("COMMANDCENTER_HOME") or PROJECT_ROOT / ".commandcenter").expanduser().absolute(),
        cache=Path(env.get("COMMANDCENTER_CACHE") or cache_root / "commandcenter").expanduser().absolute(),
        host=env.get("COMMANDCENTER_HOST") or "127.0.0.1",
        ports=ports,
        kafka_heap=env.get("COMMANDCENTER_KAFKA_HEAP") or "512m",
        foreign_database_url=env.get("COMMANDCENTER_DATABASE_URL") or None,
        foreign_owner_url=env.get("COMMANDCENTER_MIGRATIONS_DATABASE_URL") or None,
        foreign_kafka=env.get("COMMANDCENTER_KAFKA_BOOTSTRAP_SERVERS") or None,
    )


def _port(env: Mapping[str, str], variable: str, default: int) -> int:
    text = env.get(variable) or str(default)
    if not text.isdecimal() or not 0 < int(text) <= _LAST_PORT:
        raise StackError(f"{variable}={text!r} is not a port: set it to a number from 1 to 65535, or unset it.")
    return int(text)
