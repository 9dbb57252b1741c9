"""The built-in task types and the parameter models that give their JSON Schemas.

The migration step registers them; the api validates `task_parameters` against the registered schema; the worker's
handlers read the same models. Unknown parameters are refused, so that a misspelt name is found when it is written.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

NO_BATCH_IN_A_BATCH = "a batch cannot be an operation of a batch"
Id = Annotated[int, Field(ge=1)]
# The description of what has a pattern is what the api answers to a value that does not match.
EmailAddress = Annotated[
    str, Field(max_length=254, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", description="name@example.com")
]
Target = Annotated[
    str,
    Field(
        max_length=2048,
        pattern=r"^(https?://\S+|tcp://[^\s:/]+:\d{1,5}|tcp://\[[^\]\s]+\]:\d{1,5})$",
        description="http://…, https://… or tcp://host:port",
    ),
]


class Parameters(BaseModel):
    """The parameters of one task type."""

    model_config = ConfigDict(extra="forbid")


class AnalysisParameters(Parameters):
    """Analyse a repository's code."""

    repository_id: Id
    analysis_type: Literal["full", "security", "quality"] = "full"
    include_dependencies: bool = False
    notify_on_completion: bool = False
    notification_emails: list[EmailAddress] = Field(default_factory=list, max_length=50)


class ExportParameters(Parameters):
    """Write a report of a project over a period. SARIF can carry findings only, whether asked as them or a summary."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"format": {"const": "sarif"}}, "required": ["format"]},
            "then": {"properties": {"report_type": {"enum": ["summary", "findings"]}}},
        }
    )

    format: Literal["sarif", "markdown", "csv", "json", "html", "pdf", "xlsx"]
    report_type: Literal["summary", "findings", "runs", "schedules"] = "summary"
    period_days: int = Field(default=7, ge=1, le=366, description="The days before the occurrence.")
    repository_id: Id | None = Field(default=None, description="Only this repository's findings.")

    @model_validator(mode="after")
    def _sarif_is_findings(self) -> Self:
        if self.format == "sarif" and self.report_type not in {"summary", "findings"}:
            raise ValueError(f"SARIF carries findings, not {self.report_type}")
        return self


class WebhookDeliveryParameters(Parameters):
    """Deliver a payload to a registered webhook."""

    webhook_id: Id
    payload: dict[str, Any] = Field(default_factory=dict)
    event: str = Field(
        default="schedule.fired",
        max_length=100,
        pattern=r"^[A-Za-z0-9_.]+$",
        description="letters, digits, _ and ., such as schedule.fired",
    )


class SyncParameters(Parameters):
    """Bring the mirrors of repositories up to date; without repository_id all of the project's."""

    repository_id: Id | None = None


class BatchOperation(Parameters):
    """One operation of a batch: any other task type with its parameters."""

    name: str | None = Field(default=None, max_length=100)
    task_type: str = Field(
        pattern=r"^[a-z][a-z0-9_]{0,47}$",
        description="a task type's name, such as analysis",
        json_schema_extra={"not": {"const": "batch", "description": NO_BATCH_IN_A_BATCH}},
    )
    task_parameters: dict[str, Any] = Field(default_factory=dict)

    @field_validator("task_type")
    @classmethod
    def _no_batch_in_a_batch(cls, name: str) -> str:
        if name == "batch":
            raise ValueError(NO_BATCH_IN_A_BATCH)
        return name


class BatchParameters(Parameters):
    """Run several operations as one job."""

    operations: list[BatchOperation] = Field(min_length=1, max_length=100)
    mode: Literal["sequential", "parallel"] = "sequential"
    on_error: Literal["stop", "continue"] = "stop"
    max_parallel: int = Field(default=4, ge=1, le=16)


class HealthCheckParameters(Parameters):
    """Probe targets; without any, the system's own parts."""

    targets: list[Target] = Field(default_factory=list, max_length=50)
    timeout_seconds: float = Field(default=5.0, gt=0, le=60)


@dataclass(frozen=True, slots=True)
class TaskType:
    """A registered kind of task."""

    name: str
    parameters: type[Parameters]
    description: str

    @property
    def parameters_schema(self) -> dict[str, Any]:
        """The JSON Schema (draft 2020-12) of its parameters."""
        return self.parameters.model_json_schema()


BUILT_IN = (
    TaskType("analysis", AnalysisParameters, "Analyse a repository: security, quality or both"),
    TaskType("export", ExportParameters, "Write a report: SARIF, Markdown, CSV, JSON, HTML, PDF or XLSX"),
    TaskType("webhook_delivery", WebhookDeliveryParameters, "Deliver a signed payload to a webhook"),
    TaskType("sync", SyncParameters, "Mirror repositories and record what is new"),
    TaskType("batch", BatchParameters, "Run several operations as one job"),
    TaskType("health_check", HealthCheckParameters, "Probe services over HTTP or TCP, or the system's own parts"),
)
