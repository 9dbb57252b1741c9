"""Settings that every service shares.

Each service's own settings extend them and are the only reader of the environment.
"""

import ipaddress
import json
import sys
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError


def _listed(value: object) -> object:
    """Words with commas between, or a JSON list."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return tuple(json.loads(value))
        except json.JSONDecodeError as error:
            raise ValueError("values are needed, comma-separated or as a JSON list") from error
    return tuple(one.strip() for one in value.split(",") if one.strip())


Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
"""A setting of several values."""


class SharedSettings(BaseSettings):
    """Where the servers are and how a process presents itself. Every field is a `COMMANDCENTER_<NAME>` variable."""

    model_config = SettingsConfigDict(env_prefix="COMMANDCENTER_", extra="ignore", frozen=True)

    postgres_port: int = Field(default=5433, ge=1, le=65_535, description="Of the embedded PostgreSQL.")
    kafka_port: int = Field(default=9092, ge=1, le=65_535, description="Of the embedded Kafka.")
    database_url: str = Field(
        default_factory=lambda given: (
            f"postgresql+psycopg2://commandcenter@127.0.0.1:{given['postgres_port']}/commandcenter"
        ),
        description="Default: the embedded PostgreSQL: commands run by hand find the stack of this environment.",
    )
    kafka_bootstrap_servers: str = Field(
        default_factory=lambda given: f"127.0.0.1:{given['kafka_port']}", description="Default: the embedded Kafka."
    )
    topic_prefix: str = Field(default="commandcenter.", pattern=r"^[a-zA-Z0-9._-]*$")
    topic_partitions: int = Field(default=6, ge=1, le=1000)
    topic_replication: int = Field(default=1, ge=1, le=10)
    home: Path = Path(".commandcenter")
    artifacts_url: str | None = Field(
        default=None, description="Where runs leave files: a folder or s3://bucket/path; default the home's artifacts."
    )
    host: str = "127.0.0.1"
    log_format: Literal["logfmt", "json"] = "logfmt"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    otlp_endpoint: str | None = Field(default=None, description="OTLP/HTTP endpoint for traces; none: no export.")
    trace_sample_ratio: float = Field(default=1.0, ge=0.0, le=1.0)
    instance: str | None = Field(default=None, description="A name for this replica; default host name and pid.")

    @field_validator("database_url")
    @classmethod
    def _name_the_driver(cls, url: str) -> str:
        return with_driver(url)

    @classmethod
    def from_environment(cls) -> Self:
        """The environment's settings; ends the process (code 2) with one line that names every wrong variable.

        One line, because the local stack shows the last line of a service that does not start.
        """
        try:
            return cls()
        except ValidationError as error:
            sentence = _sentence(error)
        except SettingsError as error:
            sentence = f"A COMMANDCENTER_… variable that holds a list or an object must be JSON: {error}"
        sys.stderr.write(sentence + "\n")  # before logs exist
        raise SystemExit(2)

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the services: then local conveniences are on by default."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def with_driver(url: str) -> str:
    """SQLAlchemy 2.1 reads `postgresql://` as psycopg 3, which is not installed: name psycopg2."""
    for scheme in ("postgresql://", "postgres://"):
        if url.startswith(scheme):
            return "postgresql+psycopg2://" + url.removeprefix(scheme)
    if not url.startswith("postgresql+psycopg2://"):
        raise ValueError("a PostgreSQL address is needed: postgresql://user:password@host:port/database")
    return url


def _sentence(error: ValidationError) -> str:
    """What is wrong with the environment. Values are left out: they may be secrets."""
    parts = []
    for found in error.errors():
        if found["type"] == "default_factory_not_called":  # follows from a wrong variable that is named already
            continue
        name = str(found["loc"][0]).upper() if found["loc"] else ""
        message = found["msg"].removeprefix("Value error, ")
        parts.append(f"COMMANDCENTER_{name}: {message}" if name else message)
    return "; ".join(parts)
