"""The dispatcher's settings; the only place where it reads the environment (`COMMANDCENTER_<NAME>`)."""

from pydantic import Field

from shared.settings import SharedSettings


class Settings(SharedSettings):
    """What an operator may turn. The defaults are what the promises of docs/dispatcher.md are measured with."""

    dispatcher_port: int = Field(default=8001, ge=0, le=65_535)
    dispatcher_lease_seconds: float = Field(
        default=2.2, ge=0.5, le=60, description="How long a silent leader leads; take-over after a crash takes as long."
    )
    dispatcher_batch: int = Field(
        default=2_000, ge=1, le=20_000, description="Most due schedules claimed a transaction."
    )
    dispatcher_poll_seconds: float = Field(
        default=1.0, gt=0, le=60, description="The longest sleep: a lost wake-up delays by at most so long."
    )
    dispatcher_backlog: int = Field(
        default=50_000, ge=1, description="Messages unacknowledged by Kafka at which claiming stops."
    )
    dispatcher_patience_seconds: float = Field(
        default=10.0,
        ge=0,
        le=600,
        description="Workers have so long to renew their leases after PostgreSQL was away; two heartbeats at least.",
    )
