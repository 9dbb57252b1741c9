"""Bodies of the job endpoints."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from services.api.models.fields import Page, Shape
from shared.storage.job_queries import JobRow

Status = Literal["queued", "running", "retrying", "succeeded", "failed", "cancelled", "skipped"]
TriggerName = Literal["schedule", "catchup", "manual"]


class ArtifactShape(Shape):
    """A file that a run left."""

    name: str
    media_type: str
    size: int = Field(description="Bytes.")
    sha256: str
    url: str = Field(description="Where to fetch it.")


class JobShape(Shape):
    """A job: one occurrence, or one manual trigger."""

    id: int
    schedule_id: int
    schedule_name: str | None
    project_id: int
    task_type: str
    task_parameters: dict[str, Any] | None
    tags: dict[str, Any] = Field(description="Its schedule's tags, and schedule_id.")
    status: Status
    trigger: TriggerName
    scheduled_for: datetime
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_seconds: float | None
    attempt: int
    max_attempts: int
    next_attempt_at: datetime | None
    error: str | None
    reason: str | None
    result: dict[str, Any] | None
    artifacts: list[ArtifactShape]
    skip_until: datetime | None = Field(description="A skipped range's last occurrence.")
    skip_count: int | None = Field(description="How many occurrences a skipped range stands for.")


class JobList(Page):
    """A page of jobs, newest first."""

    jobs: list[JobShape]


class JobAccepted(Shape):
    """A request about a job that was accepted; the job shows when it has taken effect."""

    job_id: int
    status: str
    message: str


def shown_job(row: JobRow) -> dict[str, object]:
    """A job as the api answers it."""
    duration = None
    if row.started_at is not None and row.finished_at is not None:
        duration = round((row.finished_at - row.started_at).total_seconds(), 3)
    return {
        "id": row.id,
        "schedule_id": row.schedule_id,
        "schedule_name": row.schedule_name,
        "project_id": row.project_id,
        "task_type": row.task_type,
        "task_parameters": row.task_parameters,
        "tags": {**(row.tags or {}), "schedule_id": row.schedule_id},
        "status": row.status,
        "trigger": row.trigger,
        "scheduled_for": row.scheduled_for,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "duration_seconds": duration,
        "attempt": row.attempt,
        "max_attempts": row.max_attempts,
        "next_attempt_at": row.next_attempt_at,
        "error": row.error,
        "reason": row.reason,
        "result": row.result,
        "artifacts": [_artifact(row.id, artifact) for artifact in row.artifacts or ()],
        "skip_until": row.skip_until,
        "skip_count": row.skip_count,
    }


def _artifact(job_id: int, artifact: Mapping[str, Any]) -> dict[str, object]:
    return {
        "name": artifact["name"],
        "media_type": artifact["media_type"],
        "size": artifact["size"],
        "sha256": artifact["sha256"],
        "url": f"/api/v1/jobs/{job_id}/artifacts/{artifact['name']}",
    }
