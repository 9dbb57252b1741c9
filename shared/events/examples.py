"""One example event per type: shown in the AsyncAPI document and read by the contract tests."""

from datetime import UTC, datetime
from typing import Any

from shared.events import types
from shared.events.envelope import Event, due_id, ended_id, started_id

_AT = datetime(2025, 10, 13, 4, 0, 0, tzinfo=UTC)
_DONE = datetime(2025, 10, 13, 4, 0, 12, 500_000, tzinfo=UTC)
_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_SCHEDULE: dict[str, Any] = {
    "id": 123,
    "project_id": 1,
    "name": "Daily Repository Analysis",
    "task_type": "analysis",
    "frequency": "daily",
    "timezone": "America/New_York",
    "enabled": True,
    "version": 1,
}
_RUN: dict[str, Any] = {
    "job_id": 456,
    "attempt": 1,
    "schedule_id": 123,
    "project_id": 1,
    "task_type": "analysis",
    "scheduled_for": _AT,
}
_ENDED: dict[str, Any] = {
    **_RUN,
    "worker": "worker-1",
    "started_at": _AT,
    "finished_at": _DONE,
    "duration_seconds": 12.5,
}
_ISSUE: dict[str, Any] = {
    "issue_id": "consecutive_failures-123",
    "kind": "consecutive_failures",
    "severity": "critical",
    "schedule_id": 123,
    "project_id": 1,
    "since": _AT,
    "detail": "The last 3 runs failed: the repository does not answer",
    "remedy": "read last_error and the schedule's last jobs, correct its parameters or disable it"
    " (docs/runbook.md#schedulehighfailurerate)",
}


def _change(model: type[types.ScheduleChange], word: str, version: int, before: Any, after: Any) -> Event:
    actor = types.Actor(name="alice", address="192.0.2.7")
    data = model(schedule_id=123, project_id=1, version=version, actor=actor, before=before, after=after)
    return Event(f"schedule-{word}-123-{version}", "/commandcenter/api", _AT, data, schedule_id=123, traceparent=_TRACE)


def _run(event_id: str, source: str, data: types.EventData, at: datetime = _AT) -> Event:
    return Event(event_id, f"/commandcenter/{source}", at, data, schedule_id=123, job_id=456, traceparent=_TRACE)


_EVENTS = (
    _change(types.ScheduleCreated, "created", 1, None, _SCHEDULE),
    _change(types.ScheduleUpdated, "updated", 2, _SCHEDULE, {**_SCHEDULE, "frequency": "weekly", "version": 2}),
    _change(types.ScheduleDisabled, "disabled", 3, _SCHEDULE, {**_SCHEDULE, "enabled": False, "version": 3}),
    _change(types.ScheduleEnabled, "enabled", 4, {**_SCHEDULE, "enabled": False}, {**_SCHEDULE, "version": 4}),
    _change(types.ScheduleDeleted, "deleted", 5, _SCHEDULE, None),
    _run(
        due_id(456, 1),
        "dispatcher",
        types.RunDue(
            **_RUN,
            schedule_version=1,
            schedule_name="Daily Repository Analysis",
            trigger="schedule",
            task_parameters={"repository_id": 42, "analysis_type": "full"},
            tags={"team": "backend"},
            dispatched_at=_AT,
            max_attempts=3,
            retry_first_seconds=30,
            retry_cap_seconds=3600,
            timeout_seconds=3600,
        ),
    ),
    _run(started_id(456, 1), "worker", types.RunStarted(**_RUN, worker="worker-1", started_at=_AT)),
    _run(
        ended_id(456, 1, "succeeded", "worker"),
        "worker",
        types.RunSucceeded(
            **_ENDED,
            result={"commit": "9fceb02", "files": 210, "findings": {"total": 3}},
            artifacts=[
                types.Artifact(name="analysis.sarif", media_type="application/sarif+json", size=20480, sha256="ab" * 32)
            ],
        ),
        _DONE,
    ),
    _run(
        ended_id(456, 1, "failed", "worker"),
        "worker",
        types.RunFailed(
            **_ENDED,
            error="repository 42 does not answer",
            reason="error",
            will_retry=True,
            next_attempt_at=datetime(2025, 10, 13, 4, 0, 40, tzinfo=UTC),
        ),
        _DONE,
    ),
    _run(
        ended_id(456, 1, "cancelled", "worker"),
        "worker",
        types.RunCancelled(**_ENDED, reason="cancelled_by_user"),
        _DONE,
    ),
    _run(
        "run-cancel-456",
        "api",
        types.RunCancel(job_id=456, schedule_id=123, attempt=1, actor=types.Actor(name="alice", address="192.0.2.7")),
    ),
    _run(
        "run-requested-456-execute-1760328000000000",
        "api",
        types.RunRequested(
            request="execute",
            job_id=456,
            schedule_id=123,
            project_id=1,
            task_type="analysis",
            scheduled_for=_AT,
            actor=types.Actor(name="alice", address="192.0.2.7"),
            forced=True,
        ),
    ),
    Event(
        "object-key-3-rotated-1760328000000000",
        "/commandcenter/api",
        _AT,
        types.ObjectChanged(
            kind="key",
            object_id=3,
            name="ci",
            change="rotated",
            project_id=None,
            actor=types.Actor(name="key:ops", address="192.0.2.7", identity="key:1"),
            before={"name": "ci", "role": "operator", "project_ids": [1], "prefix": "0123456789ab"},
            after={"name": "ci", "role": "operator", "project_ids": [1], "prefix": "ba9876543210"},
            secret_changed=True,
        ),
    ),
    Event("issue-opened-1", "/commandcenter/health", _AT, types.HealthIssueOpened(**_ISSUE), schedule_id=123),
    Event(
        "issue-resolved-1",
        "/commandcenter/health",
        _DONE,
        types.HealthIssueResolved(**_ISSUE, resolved_at=_DONE),
        schedule_id=123,
    ),
)

EXAMPLES: dict[str, Event] = {event.data.TYPE: event for event in _EVENTS}
