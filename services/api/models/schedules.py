"""Bodies of the schedule endpoints."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal, get_args

import orjson
from pydantic import ConfigDict, Field, JsonValue

from services.api.answers import second
from services.api.models.fields import (
    INT4,
    Body,
    Count,
    Description,
    Id,
    Instant,
    Name,
    Page,
    Shape,
    Tags,
    TaskTypeName,
    needed,
)
from shared.domain.health import band
from shared.domain.recurrence import Explained
from shared.domain.schedule import DEFINITION_FIELDS, Definition, is_active
from shared.storage.schedule_queries import ListedSchedule
from shared.storage.schedules import StoredSchedule

Frequency = Literal["once", "hourly", "daily", "weekly", "monthly", "cron", "interval"]

TIMING_EXAMPLE: dict[str, JsonValue] = {
    "frequency": "cron",
    "cron_expression": "0 9 * * 1",
    "timezone": "America/Los_Angeles",
}
CREATE_EXAMPLE: dict[str, JsonValue] = {
    "project_id": 1,
    "name": "Daily Repository Analysis",
    "description": "Analyze repository changes daily",
    "task_type": "analysis",
    "frequency": "daily",
    "timezone": "America/New_York",
    "task_parameters": {"repository_id": 42, "analysis_type": "full"},
    "enabled": True,
    "tags": {"team": "backend", "priority": "high"},
}


class Timing(Body):
    """The "when" of a schedule. Wrong combinations are refused with the field, the reason and a suggestion."""

    # Words are plain strings here: the recurrence itself judges them, and suggests what may have been meant.
    frequency: str = Field(json_schema_extra={"enum": list(get_args(Frequency))}, examples=["daily"])
    cron_expression: str | None = Field(default=None, max_length=1000, description="For frequency cron: five fields.")
    interval_seconds: int | None = Field(
        default=None, ge=-INT4, le=INT4, description="For frequency interval: 1 or more.", examples=[60]
    )
    timezone: str = Field(default="UTC", max_length=100, description="An IANA zone.", examples=["America/New_York"])
    start_time: Instant | None = Field(default=None, description="First instant of the window, included.")
    end_time: Instant | None = Field(default=None, description="Last instant of the window, included.")
    dst_gap: str = Field(
        default="shift",
        json_schema_extra={"enum": ["shift", "skip"]},
        description="A local time that does not exist: run at the first instant after the gap, or not at all.",
    )
    dst_overlap: str = Field(
        default="first",
        json_schema_extra={"enum": ["first", "last", "both"]},
        description="A local time that comes twice: which passes run.",
    )
    jitter_seconds: int = Field(default=0, ge=-INT4, le=INT4, description="Spreads starts by up to this delay.")


class ScheduleCreate(Timing):
    """A new schedule."""

    model_config = ConfigDict(json_schema_extra={"examples": [CREATE_EXAMPLE]})

    project_id: Id = Field(examples=[1])
    name: Name = Field(examples=["Daily Repository Analysis"])
    description: Description | None = None
    task_type: TaskTypeName = Field(examples=["analysis"])
    task_parameters: dict[str, Any] = Field(default_factory=dict, description="Judged by the task type's JSON Schema.")
    tags: Tags = Field(default_factory=dict, examples=[{"team": "backend"}])
    enabled: bool = True
    overlap_policy: Literal["skip", "allow", "buffer_one", "cancel_other"] = "skip"
    catchup_policy: Literal["latest", "all", "none"] = "latest"
    catchup_window_seconds: int = Field(default=86_400, ge=0, le=31_536_000)
    max_attempts: int = Field(default=3, ge=1, le=100)
    retry_first_seconds: float = Field(default=30.0, ge=0, le=86_400)
    retry_cap_seconds: float = Field(default=3_600.0, ge=0, le=604_800)
    timeout_seconds: int = Field(default=3_600, ge=1, le=604_800)
    start_deadline_seconds: int | None = Field(default=None, ge=1, le=604_800)
    queue_timeout_seconds: int = Field(default=86_400, ge=1, le=518_400)
    pause_after_failures: int = Field(default=0, ge=0, le=10_000, description="0: never.")


def _frequency_schema(schema: dict[str, Any]) -> None:
    del schema["default"]
    schema["enum"] = list(get_args(Frequency))


class ScheduleUpdate(Body):
    """What to change; fields left out stay as they are, null resets the fields that may be empty."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "Updated Schedule Name", "frequency": "weekly"}]}
    )

    name: Name = needed()
    description: Description | None = None
    task_type: TaskTypeName = needed()
    task_parameters: dict[str, Any] | None = None
    tags: Tags | None = None
    enabled: bool | None = None
    frequency: str = Field(default="", json_schema_extra=_frequency_schema)
    cron_expression: str | None = Field(default=None, max_length=1000)
    interval_seconds: int | None = Field(default=None, ge=-INT4, le=INT4)
    timezone: str | None = Field(default=None, max_length=100)
    start_time: Instant | None = None
    end_time: Instant | None = None
    dst_gap: str | None = Field(default=None, json_schema_extra={"enum": ["shift", "skip", None]})
    dst_overlap: str | None = Field(default=None, json_schema_extra={"enum": ["first", "last", "both", None]})
    jitter_seconds: int | None = Field(default=None, ge=-INT4, le=INT4)
    overlap_policy: Literal["skip", "allow", "buffer_one", "cancel_other"] | None = None
    catchup_policy: Literal["latest", "all", "none"] | None = None
    catchup_window_seconds: int | None = Field(default=None, ge=0, le=31_536_000)
    max_attempts: int | None = Field(default=None, ge=1, le=100)
    retry_first_seconds: float | None = Field(default=None, ge=0, le=86_400)
    retry_cap_seconds: float | None = Field(default=None, ge=0, le=604_800)
    timeout_seconds: int | None = Field(default=None, ge=1, le=604_800)
    start_deadline_seconds: int | None = Field(default=None, ge=1, le=604_800)
    queue_timeout_seconds: int | None = Field(default=None, ge=1, le=518_400)
    pause_after_failures: int | None = Field(default=None, ge=0, le=10_000)


class ScheduleExecute(Body):
    """How to run a schedule by hand."""

    force: bool = Field(default=False, description="Execute even if disabled or not due.")


class Preview(Timing):
    """Timing to try out; nothing is stored."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**TIMING_EXAMPLE, "count": 3}]})

    count: int = Field(default=10, ge=1, le=1000)
    after: Instant | None = Field(default=None, description="Occurrences after this instant; default now.")


class Conflict(Shape):
    """Another enabled schedule of the project that works on the same target within a minute."""

    schedule_id: int
    schedule_name: str
    first_at: datetime = Field(description="This schedule's first occurrence that coincides.")
    count: int = Field(description="How many of this schedule's occurrences coincide in the next seven days.")


class ScheduleShape(Shape):
    """A schedule."""

    id: int
    project_id: int
    name: str
    description: str | None
    task_type: str
    frequency: Frequency
    timezone: str
    next_run_at: datetime | None
    enabled: bool
    run_count: Count
    success_count: Count
    failure_count: Count
    success_rate: float | None = Field(description="Percent, one decimal; null before the first run.")
    is_active: bool = Field(description="Enabled, inside its window or before it, with a next run.")
    created_at: datetime
    updated_at: datetime
    task_parameters: dict[str, Any]
    tags: dict[str, Any]
    cron_expression: str | None
    interval_seconds: int | None
    start_time: datetime | None
    end_time: datetime | None
    last_run_at: datetime | None
    last_status: str | None
    last_error: str | None
    band: Literal["healthy", "investigate", "critical"] | None = Field(
        description="By success_rate: above 95 healthy, from 80 to 95 investigate, below critical; null before a run."
    )
    version: int
    dst_gap: str
    dst_overlap: str
    jitter_seconds: int
    overlap_policy: str
    catchup_policy: str
    catchup_window_seconds: int
    max_attempts: int
    retry_first_seconds: float
    retry_cap_seconds: float
    timeout_seconds: int
    start_deadline_seconds: int | None
    queue_timeout_seconds: int
    pause_after_failures: int


class ScheduleWritten(ScheduleShape):
    """A schedule after a creation or an update, with what is worth knowing about it."""

    warnings: list[str]
    conflicts: list[Conflict]


class ScheduleList(Page):
    """A page of schedules."""

    schedules: list[ScheduleShape]


class Executed(Shape):
    """A schedule run by hand."""

    schedule_id: int
    schedule_name: str
    job_id: int
    executed_at: datetime
    next_run_at: datetime | None
    message: str = Field(examples=["Schedule executed successfully, job 456 created"])


class StatisticsShape(Shape):
    """Schedules and their runs, counted."""

    total_schedules: Count
    enabled_schedules: Count
    disabled_schedules: Count
    total_runs: Count
    successful_runs: Count
    failed_runs: Count
    success_rate: float | None
    by_frequency: dict[str, int]


class OccurrenceShape(Shape):
    """One coming occurrence."""

    scheduled_for: datetime
    local: str = Field(description="The same instant on the schedule's clock, with its offset.")
    dst: Literal["moved", "merged", "doubled", "dropped"] | None = Field(
        default=None, description="What a change of the clock does to it; dropped ones do not run."
    )
    note: str | None = None


class Occurrences(Shape):
    """When a schedule will run."""

    description: str
    timezone: str
    occurrences: list[OccurrenceShape]
    dropped: list[OccurrenceShape] | None = Field(default=None, description="What clock changes take away meanwhile.")


class ConflictList(Shape):
    """Which schedules coincide with one."""

    schedule_id: int
    conflicts: list[Conflict]


_NAMES = tuple(ScheduleShape.model_fields)
_POLICIES = DEFINITION_FIELDS[DEFINITION_FIELDS.index("dst_gap") : DEFINITION_FIELDS.index("enabled")]


def success_rate(successes: int, failures: int) -> float | None:
    """Percent with one decimal; None before the first run."""
    runs = successes + failures
    return round(100 * successes / runs, 1) if runs else None


def shown(stored: StoredSchedule, now: datetime) -> dict[str, object]:
    """A schedule as the api answers it."""
    definition = stored.definition
    return {
        "id": stored.id,
        "project_id": definition.project_id,
        "name": definition.name,
        "description": definition.description,
        "task_type": definition.task_type,
        "frequency": definition.frequency,
        "timezone": definition.timezone,
        "next_run_at": stored.timer.next_run_at,
        "enabled": definition.enabled,
        "run_count": stored.success_count + stored.failure_count,
        "success_count": stored.success_count,
        "failure_count": stored.failure_count,
        "success_rate": success_rate(stored.success_count, stored.failure_count),
        "is_active": is_active(
            enabled=definition.enabled,
            end_time=definition.end_time,
            next_run_at=stored.timer.next_run_at,
            now=now,
        ),
        "created_at": second(stored.created_at),
        "updated_at": second(stored.updated_at),
        "task_parameters": definition.task_parameters,
        "tags": definition.tags,
        "cron_expression": definition.cron_expression,
        "interval_seconds": definition.interval_seconds,
        "start_time": definition.start_time,
        "end_time": definition.end_time,
        "last_run_at": stored.last_run_at,
        "last_status": stored.last_status,
        "last_error": stored.last_error,
        "band": band(stored.success_count, stored.failure_count),
        "version": stored.version,
        **{name: getattr(definition, name) for name in _POLICIES},
    }


def shown_listed(row: ListedSchedule) -> dict[str, object]:
    """The same of a listed row: fifty a page, so nothing is parsed only to be written again."""
    values = dict(zip(_NAMES, row, strict=False))  # a page's rows have its total behind them
    values["success_rate"] = success_rate(row.success_count, row.failure_count)
    values["band"] = band(row.success_count, row.failure_count)
    values["task_parameters"] = orjson.Fragment(row.task_parameters)
    values["tags"] = orjson.Fragment(row.tags)
    return values


def definition_document(definition: Definition, created_at: datetime) -> dict[str, object]:
    """A definition as change events carry it."""
    document: dict[str, object] = {name: getattr(definition, name) for name in DEFINITION_FIELDS}
    document["created_at"] = created_at
    return document


def shown_occurrences(found: Iterable[Explained]) -> list[dict[str, object]]:
    """Occurrences as the api answers them; marks only where a clock change did something."""
    rows = []
    for one in found:
        row: dict[str, object] = {"scheduled_for": one.scheduled_for, "local": one.local.isoformat()}
        if one.dst is not None:
            row |= {"dst": one.dst, "note": one.note}
        rows.append(row)
    return rows
