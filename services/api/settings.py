"""The api's settings; the only place where it reads the environment (`COMMANDCENTER_<NAME>`)."""

import ipaddress
import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from shared.settings import Listed, SharedSettings

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")


class Settings(SharedSettings):
    """Address, access, limits."""

    api_port: int = Field(default=8000, ge=0, le=65_535)
    api_threads: int = Field(
        default=4,
        ge=1,
        le=200,
        # One Python computes at a time: more threads only wait for each other, and for a database far away.
        description="Requests worked on at once, each with a connection for reads and one for transactions.",
    )

    auth: Literal["none", "keys"] = Field(default="none", description="none: everybody is admin; on loopback only.")
    admin_key: str | None = Field(
        default=None,
        min_length=32,
        description="A key with the admin role from the environment: to make the first one.",
    )
    oidc_issuer: str | None = Field(default=None, description="Accept this issuer's bearer tokens too (auth=keys).")
    oidc_audience: str | None = None
    oidc_jwks_url: str | None = Field(default=None, description="Default: <issuer>/.well-known/jwks.json")
    oidc_algorithm: Literal["RS256", "ES256", "EdDSA"] = "RS256"
    oidc_role_claim: str = "commandcenter_role"
    oidc_projects_claim: str = "commandcenter_projects"

    max_body_bytes: int = Field(default=1_048_576, ge=1_024)
    max_schedules_per_project: int = Field(default=100_000, ge=1)
    min_interval_seconds: int = Field(default=1, ge=1, description="The shortest interval a schedule may have.")
    requests_per_minute: int = Field(default=0, ge=0, description="A key, token or address may make; 0: no limit.")
    trusted_proxies: str | None = Field(
        default=None,
        description="Addresses or networks, comma-separated, whose X-Forwarded-For names the caller; none by default.",
    )
    idempotency_hours: int = Field(default=24, ge=1, le=720)
    cors_origins: Listed = Field(
        default=(), description="Origins that browsers may call from, comma-separated; none by default."
    )
    allow_local_repositories: bool | None = Field(
        default=None, description="Whether repositories may be local paths; default: while the host is loopback."
    )
    allow_private_networks: bool = Field(default=False, description="URLs may name private addresses (worker too).")
    allow_loopback: bool | None = Field(
        default=None, description="Whether URLs may name this machine; default: while the host is loopback."
    )
    secrets_key: str | None = Field(
        default=None, description="32 bytes as base64 that seal stored secrets; default: a file in the home."
    )

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if not _ORIGIN.fullmatch(one):
                raise ValueError("each is an origin such as https://host or https://host:port; * is not allowed")
        return value

    @property
    def store_url(self) -> str:
        """Where runs leave their files."""
        return self.artifacts_url or str(self.home.absolute() / "artifacts")

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the api."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def local_repositories(self) -> bool:
        """Whether local paths are allowed as repository URLs."""
        return self.on_loopback if self.allow_local_repositories is None else self.allow_local_repositories

    @property
    def loopback_addresses(self) -> bool:
        """Whether URLs may name this machine itself."""
        return self.on_loopback if self.allow_loopback is None else self.allow_loopback

    @model_validator(mode="after")
    def _never_open_to_the_world(self) -> "Settings":
        if self.auth == "none" and not self.on_loopback:
            raise ValueError(
                f"COMMANDCENTER_AUTH=none is refused on {self.host}:"
                " set COMMANDCENTER_AUTH=keys, or listen on 127.0.0.1"
            )
        if self.oidc_issuer and not self.oidc_audience:
            raise ValueError("COMMANDCENTER_OIDC_AUDIENCE is needed with COMMANDCENTER_OIDC_ISSUER")
        return self
