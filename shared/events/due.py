"""Builds `run.due` messages: one builder for the tick, for the api's manual runs and for retries.

The tick builds tens of thousands a second, so this writes JSON text itself instead of going through a model: task
parameters and tags come as the JSON text PostgreSQL stores and are passed through unparsed. A test holds the result
against the RunDue model, which stays the contract.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted

from shared.events.envelope import CONTENT_TYPE, SPEC_VERSION, Message
from shared.events.types import RunDue

SOURCE = "/commandcenter/dispatcher"


@dataclass(frozen=True, slots=True)
class RunPolicy:
    """The part of a schedule that says how its attempts run; equal for very many schedules."""

    max_attempts: int
    retry_first_seconds: float
    retry_cap_seconds: float
    timeout_seconds: int
    start_deadline_seconds: int | None


@dataclass(frozen=True, slots=True)
class DueRun:
    """One attempt that is due. `task_parameters` and `tags` are JSON text."""

    job_id: int
    attempt: int
    schedule_id: int
    project_id: int
    task_type: str
    scheduled_for: datetime
    schedule_version: int
    schedule_name: str
    trigger: str
    task_parameters: str
    tags: str
    policy: RunPolicy
    deadline_from: datetime
    """The instant from which start_deadline_seconds counts: the occurrence's dispatch, or a retry's publication."""


def due_message(run: DueRun, dispatched_at: datetime, traceparent: str | None = None, source: str = SOURCE) -> Message:
    """The message of an attempt, for topic runs.due.<task_type>."""
    now = instant(dispatched_at)
    start_by = None
    if run.policy.start_deadline_seconds is not None:
        start_by = instant(run.deadline_from + timedelta(seconds=run.policy.start_deadline_seconds))
    value = due_value(
        run.job_id,
        run.attempt,
        run.schedule_id,
        run.project_id,
        run.task_type,
        instant(run.scheduled_for),
        run.schedule_version,
        run.schedule_name,
        run.trigger,
        run.task_parameters,
        run.tags,
        f'"dispatched_at":"{now}",{policy_text(run.policy)}',
        start_by,
    )
    headers = static_headers(now, source) | {
        "ce_id": f"run-due-{run.job_id}-{run.attempt}",
        "ce_scheduleid": str(run.schedule_id),
        "ce_jobid": str(run.job_id),
    }
    if traceparent is not None:
        headers["traceparent"] = traceparent
    return Message(f"runs.due.{run.task_type}", str(run.schedule_id), headers, value)


def due_value(  # noqa: PLR0913, PLR0917 (positional scalars on purpose: this runs tens of thousands of times a second)
    job_id: int,
    attempt: int,
    schedule_id: int,
    project_id: int,
    task_type: str,
    scheduled_for: str,
    version: int,
    name: str,
    trigger: str,
    task_parameters: str,
    tags: str,
    policy: str,
    start_by: str | None,
) -> str:
    """The JSON body. `policy` is the text of dispatched_at and the run policy; a trigger is a plain word."""
    end = f'"{start_by}"' if start_by else "null"
    return (
        f'{{"job_id":{job_id},"attempt":{attempt},"schedule_id":{schedule_id},"project_id":{project_id},'
        f'"task_type":{quoted(task_type)},"scheduled_for":"{scheduled_for}","schedule_version":{version},'
        f'"schedule_name":{quoted(name)},"trigger":"{trigger}","task_parameters":{task_parameters},"tags":{tags},'
        f'{policy},"start_by":{end}}}'
    )


@lru_cache(maxsize=4096)
def policy_text(policy: RunPolicy) -> str:
    """The run policy as members of a JSON object."""
    return (
        f'"max_attempts":{policy.max_attempts},"retry_first_seconds":{float(policy.retry_first_seconds)!r},'
        f'"retry_cap_seconds":{float(policy.retry_cap_seconds)!r},"timeout_seconds":{policy.timeout_seconds}'
    )


def static_headers(time: str, source: str = SOURCE) -> dict[str, str]:
    """The headers that all run.due events of one moment share."""
    return {
        "ce_specversion": SPEC_VERSION,
        "ce_source": source,
        "ce_type": RunDue.TYPE,
        "ce_time": time,
        "content-type": CONTENT_TYPE,
    }


def instant(value: datetime) -> str:
    """RFC 3339 in UTC; `value` is aware and in UTC."""
    return value.isoformat().replace("+00:00", "Z")
