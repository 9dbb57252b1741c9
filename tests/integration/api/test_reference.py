"""The reference's requests, word for word, and its shapes, to the letter."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.integration.api.support import CREATE, Api

SHAPE = [
    *("id", "project_id", "name", "description", "task_type", "frequency", "timezone", "next_run_at", "enabled"),
    *("run_count", "success_count", "failure_count", "success_rate", "is_active", "created_at", "updated_at"),
]
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")

EXAMPLES = [
    """{
    "project_id": 1,
    "name": "Daily Code Analysis",
    "task_type": "analysis",
    "frequency": "daily",
    "timezone": "America/New_York",
    "task_parameters": {
        "repository_id": 42,
        "analysis_type": "security"
    },
    "description": "Daily security scan at midnight ET"
}""",
    """{
    "project_id": 1,
    "name": "Hourly Health Check",
    "task_type": "health_check",
    "frequency": "hourly",
    "task_parameters": {},
    "description": "Check system health every hour"
}""",
    """{
    "project_id": 1,
    "name": "Weekly Report",
    "task_type": "export",
    "frequency": "cron",
    "cron_expression": "0 9 * * 1",
    "timezone": "America/Los_Angeles",
    "task_parameters": {
        "format": "pdf",
        "report_type": "summary"
    },
    "description": "Weekly report every Monday at 9 AM PT"
}""",
    """{
    "project_id": 1,
    "name": "Campaign Notifications",
    "task_type": "webhook_delivery",
    "frequency": "daily",
    "start_time": "2025-11-01T00:00:00Z",
    "end_time": "2025-11-30T23:59:59Z",
    "task_parameters": {
        "webhook_id": 15
    },
    "description": "Daily notifications during November campaign"
}""",
    """{
    "project_id": 1,
    "name": "Business Hours Sync",
    "task_type": "sync",
    "frequency": "cron",
    "cron_expression": "0 9-17 * * 1-5",
    "timezone": "America/New_York",
    "description": "Sync every hour, 9 AM - 5 PM, Monday-Friday ET"
}""",
]


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", None])
def test_examples_are_created(api: Api, example: str, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}  # `curl -d` alone sends a form's type
    answer = api.client.post("/api/v1/schedules", content=example.encode(), headers=headers)
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert list(body)[: len(SHAPE)] == SHAPE
    assert body["success_rate"] is None
    assert body["run_count"] == 0
    assert INSTANT.fullmatch(body["created_at"])
    for name, value in json.loads(example).items():
        assert body[name] == value
    over = "end_time" in json.loads(example)
    assert body["is_active"] is not over
    assert (body["next_run_at"] is None) is over
    assert answer.headers["location"] == f"/api/v1/schedules/{body['id']}"
    missing = {"analysis": "repository 42", "webhook_delivery": "webhook 15"}.get(body["task_type"])
    assert missing is None or any(warning.startswith(missing) for warning in body["warnings"])


def test_next_run_is_midnight_in_new_york(api: Api) -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT0[45]:00:00Z", api.create()["next_run_at"])


def test_list_has_the_reference_shape_and_limits(api: Api) -> None:
    api.create()
    body = api.client.get("/api/v1/schedules", params={"page_size": 1}).json()
    assert list(body) == ["schedules", "total", "page", "page_size", "pages"]
    assert body["pages"] == body["total"]
    assert api.client.get("/api/v1/schedules").json()["page_size"] == 50
    assert api.client.get("/api/v1/schedules", params={"page_size": 101}).status_code == 422
    assert api.client.get("/api/v1/schedules/due/list", params={"limit": 501}).status_code == 422


def test_best_practice_seven(api: Api) -> None:
    """Create disabled, execute with force, look at the job, enable."""
    made = api.create(enabled=False)
    assert (made["enabled"], made["is_active"], made["next_run_at"]) == (False, False, None)
    path = f"/api/v1/schedules/{made['id']}"
    executed = api.client.post(f"{path}/execute", content=b'{"force": true}')
    assert executed.status_code == 202
    body = executed.json()
    assert list(body) == ["schedule_id", "schedule_name", "job_id", "executed_at", "next_run_at", "message"]
    assert body["message"] == f"Schedule executed successfully, job {body['job_id']} created"
    assert body["schedule_name"] == made["name"]
    assert INSTANT.fullmatch(body["executed_at"])
    job = api.client.get(f"/api/v1/jobs/{body['job_id']}").json()
    assert (job["status"], job["trigger"], job["schedule_id"]) == ("queued", "manual", made["id"])
    found = api.client.get(f"/api/v1/jobs?tags.schedule_id={made['id']}").json()
    assert [one["id"] for one in found["jobs"]] == [job["id"]]
    assert list(found) == ["jobs", "total", "page", "page_size", "pages"]
    enabled = api.client.post(f"{path}/enable")
    assert enabled.status_code == 200
    assert enabled.json()["enabled"] is True
    assert enabled.json()["next_run_at"] is not None


def test_statistics(api: Api) -> None:
    project = api.client.post("/api/v1/projects", json={"name": "statistics"}).json()["id"]
    first = api.create(project_id=project)
    api.create(project_id=project, enabled=False)
    api.create(project_id=project, frequency="hourly")
    path = "/api/v1/schedules/statistics/summary"
    empty = api.client.get(path, params={"project_id": project}).json()
    assert empty["success_rate"] is None
    api.rows(
        "INSERT INTO schedule_statistics (schedule_id, project_id, success_count, failure_count)"
        " VALUES (%s, %s, 17, 1)",
        first["id"],
        project,
    )
    body = api.client.get(path, params={"project_id": project}).json()
    assert list(body.items()) == [
        ("total_schedules", 3),
        ("enabled_schedules", 2),
        ("disabled_schedules", 1),
        ("total_runs", 18),
        ("successful_runs", 17),
        ("failed_runs", 1),
        ("success_rate", 94.4),
        ("by_frequency", {"daily": 2, "hourly": 1}),
    ]
    assert api.client.get(f"/api/v1/schedules/{first['id']}").json()["success_rate"] == 94.4
    assert api.client.get(path).json()["total_runs"] >= 18


def test_due_list_is_a_plain_list(api: Api) -> None:
    made = api.create(name="due soon")
    api.make_due(made["id"], 3_000_000)
    body: list[dict[str, Any]] = api.client.get("/api/v1/schedules/due/list", params={"limit": 1}).json()
    assert [one["id"] for one in body] == [made["id"]]
    assert list(body[0])[: len(SHAPE)] == SHAPE
    api.client.delete(f"/api/v1/schedules/{made['id']}")


def test_common_mistakes_are_explained(api: Api) -> None:
    for expression, message in (("0 2 * *", "4 fields, 5 are needed"), ("0 25 * * *", "hour 25")):
        answer = api.client.post(
            "/api/v1/schedules", json={**CREATE, "frequency": "cron", "cron_expression": expression}
        )
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        error = answer.json()["errors"][0]
        assert error["field"] == "cron_expression"
        assert error["value"] == expression
        assert message in error["message"]


def test_log_lines(api: Api) -> None:
    made = api.create(name="Daily Analysis")
    job = api.client.post(f"/api/v1/schedules/{made['id']}/execute", json={"force": True}).json()["job_id"]
    text = api.log.read_text()
    assert f"Created schedule {made['id']} (Daily Analysis) with next run at {made['next_run_at']} " in text
    line = next(line for line in text.splitlines() if f"created job {job}," in line)
    assert f"Executed schedule {made['id']}, created job {job}, next run at {made['next_run_at']} " in line
    assert f"schedule_id={made['id']}" in line
    assert f"job_id={job}" in line
