"""The event types. These models are the source of the JSON Schemas and of the AsyncAPI document.

A type's name ends in its version; within a version fields are only added, and readers ignore fields they do not know.
Instants are RFC 3339 in UTC. Producers: see shared/events/topics.py.
"""

from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field


class EventData(BaseModel):
    """The JSON body of an event; `TYPE` is the CloudEvents type it travels under."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    TYPE: ClassVar[str]


class Actor(BaseModel):
    """Who asked for a change: a user or key name, and the network address it came from."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    name: str
    address: str | None = None
    identity: str | None = Field(
        default=None, description="Tells callers of one name apart, such as key:3; null where the name is theirs alone."
    )


class ScheduleChange(EventData):
    """A schedule was created or changed. `before` is null on creation, `after` is null on deletion."""

    schedule_id: int
    project_id: int
    version: int = Field(description="Counts the changes of this schedule; keep the highest.")
    actor: Actor
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class ScheduleCreated(ScheduleChange):
    TYPE: ClassVar[str] = "commandcenter.schedule.created.v1"


class ScheduleUpdated(ScheduleChange):
    TYPE: ClassVar[str] = "commandcenter.schedule.updated.v1"


class ScheduleEnabled(ScheduleChange):
    TYPE: ClassVar[str] = "commandcenter.schedule.enabled.v1"


class ScheduleDisabled(ScheduleChange):
    TYPE: ClassVar[str] = "commandcenter.schedule.disabled.v1"


class ScheduleDeleted(ScheduleChange):
    TYPE: ClassVar[str] = "commandcenter.schedule.deleted.v1"


class RunEvent(EventData):
    """What every run event carries: which attempt of which job, and the partition key `scheduled_for`."""

    job_id: int
    attempt: int = Field(ge=1)
    schedule_id: int
    project_id: int
    task_type: str
    scheduled_for: datetime = Field(description="The nominal instant; also the key of the job's storage partition.")


class RunDue(RunEvent):
    """An attempt is due: run it now. Everything a worker needs; its event id is fixed by (job_id, attempt)."""

    TYPE: ClassVar[str] = "commandcenter.run.due.v1"
    schedule_version: int
    schedule_name: str
    trigger: Literal["schedule", "catchup", "manual"]
    task_parameters: dict[str, Any]
    tags: dict[str, Any] = Field(default_factory=dict)
    dispatched_at: datetime
    max_attempts: int = Field(ge=1)
    retry_first_seconds: float
    retry_cap_seconds: float
    timeout_seconds: int = Field(ge=1)
    start_by: datetime | None = Field(default=None, description="Start later than this and the attempt is given up.")


class RunStarted(RunEvent):
    """A worker has claimed the attempt and begins to execute it."""

    TYPE: ClassVar[str] = "commandcenter.run.started.v1"
    worker: str
    started_at: datetime


class RunEnded(RunEvent):
    """What every end of an attempt carries."""

    worker: str | None = Field(default=None, description="Null where no worker had it (rescue, cancel before start).")
    started_at: datetime | None = None
    finished_at: datetime
    duration_seconds: float | None = Field(default=None, ge=0)


class Artifact(BaseModel):
    """A file that a run left in the artifact store."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    name: str
    media_type: str
    size: int = Field(ge=0, description="Bytes.")
    sha256: str


class RunSucceeded(RunEnded):
    TYPE: ClassVar[str] = "commandcenter.run.succeeded.v1"
    result: dict[str, Any] = Field(default_factory=dict)
    artifacts: list[Artifact] = Field(default_factory=list)


class RunFailed(RunEnded):
    """The attempt failed. With `will_retry` the job becomes retrying until `next_attempt_at`, else it has failed."""

    TYPE: ClassVar[str] = "commandcenter.run.failed.v1"
    error: str = Field(description="One sentence for people.")
    reason: str = Field(description="A word for machines: error, timeout, worker_lost, never_started, …")
    will_retry: bool
    next_attempt_at: datetime | None = None
    result: dict[str, Any] | None = None
    artifacts: list[Artifact] = Field(default_factory=list)


class RunCancelled(RunEnded):
    TYPE: ClassVar[str] = "commandcenter.run.cancelled.v1"
    reason: str = Field(description="cancelled_by_user, schedule_deleted, replaced, deadline")


class RunCancel(EventData):
    """A request to stop a running attempt; attempt null means whichever runs."""

    TYPE: ClassVar[str] = "commandcenter.run.cancel.v1"
    job_id: int
    schedule_id: int
    attempt: int | None = None
    reason: str = "cancelled_by_user"
    actor: Actor | None = None


class RunRequested(EventData):
    """Somebody asked by hand for a job to run (execute, retry: a new one) or to end (cancel)."""

    TYPE: ClassVar[str] = "commandcenter.run.requested.v1"
    request: Literal["execute", "retry", "cancel"]
    job_id: int
    schedule_id: int
    project_id: int
    task_type: str
    scheduled_for: datetime
    actor: Actor
    forced: bool = Field(default=False, description="Executed although not due, or in spite of a run that goes on.")
    retry_of: int | None = Field(default=None, description="The job whose work a retry runs again.")


class ObjectChanged(EventData):
    """What schedules point at, or who may come in, was changed. Secrets are never in it."""

    TYPE: ClassVar[str] = "commandcenter.object.changed.v1"
    kind: Literal["project", "repository", "webhook", "task_type", "key"]
    object_id: int | None = Field(description="Null for a task type: its name is its id.")
    name: str
    change: Literal["created", "updated", "deleted", "rotated", "revoked"]
    project_id: int | None = Field(description="Null for what is everybody's: task types and keys.")
    actor: Actor
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    secret_changed: bool = False


class HealthIssue(EventData):
    """Something is wrong with a schedule (schedule_id set) or with the system (null)."""

    issue_id: str
    kind: str
    severity: Literal["warning", "critical"]
    schedule_id: int | None
    project_id: int | None
    since: datetime
    detail: str
    remedy: str | None = Field(default=None, description="What to do first, with the runbook's entry.")


class HealthIssueOpened(HealthIssue):
    TYPE: ClassVar[str] = "commandcenter.health.issue.opened.v1"


class HealthIssueResolved(HealthIssue):
    TYPE: ClassVar[str] = "commandcenter.health.issue.resolved.v1"
    resolved_at: datetime


EVENT_TYPES: dict[str, type[EventData]] = {
    model.TYPE: model
    for model in (
        ScheduleCreated,
        ScheduleUpdated,
        ScheduleEnabled,
        ScheduleDisabled,
        ScheduleDeleted,
        RunDue,
        RunStarted,
        RunSucceeded,
        RunFailed,
        RunCancelled,
        RunCancel,
        RunRequested,
        ObjectChanged,
        HealthIssueOpened,
        HealthIssueResolved,
    )
}
