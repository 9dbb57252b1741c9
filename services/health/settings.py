"""The health service's settings: the only reader of its environment. Every field is `COMMANDCENTER_<NAME>`."""

import socket

from pydantic import Field, SecretStr

from shared.settings import Listed, SharedSettings


class Settings(SharedSettings):
    """What the health service needs beyond the shared settings."""

    health_port: int = Field(default=8003, ge=0, le=65535, description="Port of /livez, /readyz and /metrics.")
    health_group: str = Field(default="health", description="Consumer group, behind the topic prefix.")
    health_session_seconds: float = Field(
        default=6.0, ge=1.0, le=10.0, description="Partitions of a killed replica move after this."
    )
    record_batch_size: int = Field(default=1_000, ge=1, le=10_000, description="Events recorded in one transaction.")
    record_lanes: int = Field(default=2, ge=1, le=8, description="Transactions at the same time, of other partitions.")
    commit_interval_seconds: float = Field(default=1.0, gt=0, le=10, description="How often offsets are committed.")
    monitor_interval_seconds: float = Field(
        default=300.0, ge=0.2, description="How often monitor_schedule_health runs."
    )
    overdue_after_seconds: float = Field(default=60.0, ge=1.0, description="Grace before a due schedule is overdue.")
    alerts_webhook_url: SecretStr | None = Field(default=None, description="Health issues are posted here; none: not.")
    alerts_webhook_secret: SecretStr | None = Field(
        default=None, description="Signs them (Standard Webhooks, whsec_…)."
    )
    alerts_emails: Listed = Field(default=(), description="Who gets them by mail, comma-separated.")
    smtp_url: SecretStr | None = Field(default=None, description="As for the worker; none: no mail.")
    smtp_sender: str = Field(default="commandcenter@localhost", pattern=r"^[^@\s<>]+@[^@\s<>]+$")
    metrics_interval_seconds: float = Field(default=15.0, ge=0.2, description="How often schedule metrics are read.")
    metrics_schedule_limit: int = Field(default=1_000, ge=0, description="Schedules with metrics of their own.")
    retention_jobs_days: int = Field(
        default=90, ge=2, description="And always more than the longest catch-up window of an enabled schedule."
    )
    retention_audit_days: int = Field(default=400, ge=31, description="The database refuses to drop younger days.")
    retention_artifacts_days: int = Field(default=90, ge=1)
    retention_claims_days: int = Field(
        default=16,
        ge=15,
        description="Longer than Kafka can keep a run.due (7 days, and its segment's 7): it may come again.",
    )
    retention_deliveries_days: int = Field(default=30, ge=1)
    retention_dead_letters_days: int = Field(default=30, ge=1, description="As long as the topic keeps them.")
    retention_issues_days: int = Field(default=90, ge=1, description="Resolved issues; reports are kept a week.")
    stuck_after_seconds: float = Field(
        default=30.0, ge=2.0, description="Lag without progress for so long ends the process with an error."
    )

    @property
    def member(self) -> str:
        """This replica's fixed name in its consumer group: after a restart it has its partitions back at once."""
        return self.instance or f"{socket.gethostname()}-{self.health_port}"

    @property
    def artifacts(self) -> str:
        """Where runs leave files."""
        return self.artifacts_url or str(self.home.absolute() / "artifacts")
