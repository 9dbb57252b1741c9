"""The worker's settings: the only reader of its environment."""

import socket
from typing import Annotated

from pydantic import Field, SecretStr

from shared.settings import SharedSettings


class Settings(SharedSettings):
    """Every field is `COMMANDCENTER_<NAME>` in the environment."""

    worker_port: int = Field(default=8002, ge=0, le=65_535)
    worker_task_types: str = Field(default="", description="Comma-separated; empty: every type this worker knows.")
    worker_concurrency: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict, description='JSON: {"analysis": 2}; per type.'
    )
    worker_lease_seconds: float = Field(default=20.0, gt=0)
    worker_heartbeat_seconds: float = Field(default=5.0, gt=0)
    worker_grace_seconds: float = Field(default=8.0, ge=0, description="For running attempts after a stop signal.")
    worker_cancel_grace_seconds: float = Field(default=2.0, ge=0, description="Before a cancelled attempt is killed.")
    worker_stuck_seconds: int = Field(default=30, ge=1, description="How long a coroutine may block all others.")
    worker_memory_limit_mb: int = Field(default=4096, ge=64, description="Address space of one child process.")
    worker_result_limit_bytes: int = Field(default=262_144, ge=1024)
    worker_artifact_limit_bytes: int = Field(default=1 << 30, ge=1024)
    worker_unacknowledged_limit: int = Field(default=20_000, ge=1, description="Results not yet in Kafka.")

    allow_local_repositories: bool | None = Field(
        default=None, description="Whether repositories may be local paths; default: while the host is loopback."
    )
    allow_private_networks: bool = Field(default=False, description="Targets and repositories on private addresses.")
    allow_loopback: bool | None = Field(
        default=None, description="Targets on this machine itself; default: while the host is loopback."
    )
    secrets_key: str | None = Field(
        default=None, description="32 bytes as base64 that open stored secrets, the api's; default: a file in the home."
    )
    webhook_timeout_seconds: float = Field(default=15.0, gt=0, le=300, description="For one delivery, all in all.")
    repository_limit_mb: int = Field(default=2048, ge=1)
    repository_timeout_seconds: int = Field(default=600, ge=1)
    repository_files_limit: int = Field(default=100_000, ge=1, description="Files of one commit.")
    osv_url: str | None = Field(
        default=None,
        description="Where known vulnerabilities are asked for, such as https://api.osv.dev; none: nowhere.",
    )
    osv_timeout_seconds: float = Field(default=30.0, gt=0, description="For one audit, all in all.")
    smtp_url: SecretStr | None = Field(
        default=None, description="smtp://, smtp+starttls:// or smtps://user:password@host:port; none: no mail."
    )
    smtp_sender: str = Field(default="commandcenter@localhost", pattern=r"^[^@\s<>]+@[^@\s<>]+$")
    smtp_timeout_seconds: float = Field(default=15.0, gt=0, description="For each step of sending a mail.")

    @property
    def instance_name(self) -> str:
        """The name that survives a restart: of this replica on this host, told apart by its port."""
        return self.instance or f"{socket.gethostname()}-{self.worker_port}"

    @property
    def local_repositories(self) -> bool:
        """Whether local paths are allowed as repository URLs; the api asks the same."""
        return self.on_loopback if self.allow_local_repositories is None else self.allow_local_repositories

    @property
    def loopback_addresses(self) -> bool:
        """Whether runs may connect to this machine itself."""
        return self.on_loopback if self.allow_loopback is None else self.allow_loopback

    @property
    def store_url(self) -> str:
        """Where artifacts go."""
        return self.artifacts_url or str(self.home.absolute() / "artifacts")

    @property
    def task_types(self) -> frozenset[str] | None:
        """The types to serve, None for all."""
        names = {name.strip() for name in self.worker_task_types.split(",")} - {""}
        return frozenset(names) or None
