"""The health service's settings: the only reader of its environment. Every field is `COMMANDCENTER_<NAME>`."""

from pydantic import Field

from shared.settings import SharedSettings


class Settings(SharedSettings):
    """What the health service needs beyond the shared settings."""

    health_port: int = Field(default=8003, ge=0, le=65535, description="Port of /livez, /readyz and /metrics.")
    health_group: str = Field(default="health", description="Consumer group, behind the topic prefix.")
    health_session_seconds: float = Field(
        default=6.0, ge=1.0, le=10.0, description="Partitions of a killed replica move after this."
    )
    record_batch_size: int = Field(default=1_000, ge=1, le=10_000, description="Events recorded in one transaction.")
    commit_interval_seconds: float = Field(default=1.0, gt=0, le=10, description="How often offsets are committed.")
    stuck_after_seconds: float = Field(
        default=30.0, ge=2.0, description="Lag without progress for so long ends the process with an error."
    )
