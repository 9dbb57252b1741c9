"""One refusal names all that is wrong; and a locked api says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.api.support import CREATE, Api, running_api
from tests.waiting import eventually

WRONG_TIMING = {"cron_expression": "0 2 * *", "timezone": "Mars/Olympus", "jitter_seconds": -1}
SYNC = {"task_type": "sync"}


def _fields(answer: Any) -> list[str]:
    assert answer.status_code == 422, answer.text
    return sorted(error["field"] for error in answer.json()["errors"])


def test_timing_is_named_beside_what_the_model_refuses(api: Api) -> None:
    timing = {"frequency": "cron", **WRONG_TIMING}
    made = api.client.post("/api/v1/schedules", json={**CREATE, **timing, "name": ""})
    assert _fields(made) == sorted(["name", *WRONG_TIMING])
    zone = next(error for error in made.json()["errors"] if error["field"] == "timezone")
    assert zone["value"] == "Mars/Olympus"
    schedule = api.create(frequency="cron", cron_expression="0 2 * * *")
    changed = api.client.patch(f"/api/v1/schedules/{schedule['id']}", json={"name": "", **WRONG_TIMING})
    assert _fields(changed) == sorted(["name", *WRONG_TIMING])
    assert _fields(api.client.post("/api/v1/schedules/preview", json={**timing, "count": 0})) == sorted(
        ["count", *WRONG_TIMING]
    )


def test_what_the_database_knows_is_named_beside_what_the_model_refuses(api: Api) -> None:
    wrong = {"name": "", "project_id": 999_999, "task_type": "dance", "surprise": 1, "retry_cap_seconds": 1}
    made = api.client.post("/api/v1/schedules", json={**CREATE, **wrong, "frequency": "cron", **WRONG_TIMING})
    assert _fields(made) == sorted([*wrong, *WRONG_TIMING])
    parameters = {"task_parameters": {"analysis_type": "x"}}
    wanted = ["name", "task_parameters.analysis_type", "task_parameters.repository_id"]
    assert _fields(api.client.post("/api/v1/schedules", json={**CREATE, "name": "", **parameters})) == wanted
    past = {"frequency": "once", "start_time": "2020-01-01T00:00:00Z"}
    for name in ("", "good"):
        answer = api.client.post("/api/v1/schedules", json={**CREATE, **past, "name": name, "project_id": 999_999})
        assert _fields(answer) == sorted([*([] if name else ["name"]), "project_id", "start_time"])


def test_a_change_is_judged_with_what_is_stored(api: Api) -> None:
    path = f"/api/v1/schedules/{api.create()['id']}"
    patched = lambda **body: _fields(api.client.patch(path, json=body))  # noqa: E731
    assert patched(name="", frequency="cron") == ["cron_expression", "name"]
    assert patched(name="", task_type="dance") == ["name", "task_type"]
    assert patched(name="", task_type="sync") == ["name", "task_parameters.analysis_type"]
    assert patched(name="", task_parameters={}) == ["name", "task_parameters.repository_id"]
    assert patched(name="", frequency=5, timezone="Mars/Olympus") == ["frequency", "name", "timezone"]
    assert patched(name="", tags={"a": []}) == ["name", "tags"]
    assert _fields(api.client.patch("/api/v1/schedules/999999", json={"name": "", "task_type": "dance"})) == ["name"]


@pytest.mark.parametrize(("kind", "field"), [("repositories", "default_branch"), ("webhooks", "secret")])
def test_addresses_and_projects_are_named_beside_what_the_model_refuses(api: Api, kind: str, field: str) -> None:
    good = {"name": "good", "project_id": 1, "url": "https://example.com/x"}
    wrong = {"name": "", "project_id": 999_999, "url": "ftp://x", field: "-" * 30}
    assert _fields(api.client.post(f"/api/v1/{kind}", json=wrong)) == sorted(wrong)
    stored = api.client.post(f"/api/v1/{kind}", json={**good, "name": "refusals"}).json()["id"]
    assert _fields(api.client.patch(f"/api/v1/{kind}/{stored}", json={"name": "", "url": "ftp://x"})) == ["name", "url"]


@pytest.mark.parametrize("value", [None, True, 5, 1.5, [], {}, "", [{"a": None}]])
def test_odd_types_are_named_once(api: Api, value: object) -> None:
    timing = ("frequency", "cron_expression", "interval_seconds", "timezone", "start_time", "end_time")
    body = {**CREATE, "name": 1, **dict.fromkeys(timing, value)}
    fields = _fields(api.client.post("/api/v1/schedules", json=body))
    assert "name" in fields
    assert "frequency" in fields
    assert len(fields) == len(set(fields))


@pytest.mark.parametrize(
    ("operation", "field", "message"),
    [
        ({"task_type": "dance"}, "task_type", "dance is not a task type: "),
        ({"task_type": "Dance!"}, "task_type", "a task type's name"),
        ({"task_type": ["sync"]}, "task_type", "a text is needed"),
        ({"task_type": "analysis"}, "task_parameters.repository_id", "it is needed"),
        ({"task_type": "sync", "task_parameters": {"repo": 1}}, "task_parameters.repo", "there is no such parameter"),
        (
            {"task_type": "health_check", "task_parameters": {"targets": ["x"]}},
            "task_parameters.targets.0",
            "https://… or tcp://host:port",
        ),
        ({"task_type": "sync", "task_parameters": []}, "task_parameters", "an object is needed"),
        (
            {"task_type": "batch", "task_parameters": {"operations": [SYNC]}},
            "task_type",
            "a batch cannot be an operation of a batch",
        ),
    ],
)
def test_operations_of_a_batch_are_judged(api: Api, operation: dict[str, object], field: str, message: str) -> None:
    body = {**CREATE, "task_type": "batch", "task_parameters": {"operations": [SYNC, SYNC, operation]}}
    answer = api.client.post("/api/v1/schedules", json=body)
    assert _fields(answer) == [f"task_parameters.operations.2.{field}"]
    assert message in answer.json()["errors"][0]["message"]
    made = api.create(task_type="batch", task_parameters={"operations": [SYNC]})
    change = {"task_parameters": body["task_parameters"]}
    assert _fields(api.client.patch(f"/api/v1/schedules/{made['id']}", json=change)) == _fields(answer)


@pytest.mark.parametrize("path", ["schedules", "jobs", "schedules/statistics/summary", "projects", "audit"])
def test_unknown_query_parameters_are_refused(api: Api, path: str) -> None:
    answer = api.client.get(f"/api/v1/{path}?projectid=1&projectid=2&page_sise=3")
    assert _fields(answer) == ["page_sise", "projectid"]
    tagged = api.client.get(f"/api/v1/{path}?tags.anything=1")
    assert tagged.status_code == (200 if path in {"schedules", "jobs"} else 422)
    known = api.client.get("/api/v1/schedules/due/list?project_id=1").json()["errors"]
    assert known == [{"field": "project_id", "message": "there is no such query parameter; this path takes: limit"}]


def test_an_api_that_nobody_can_enter_says_so_at_start(database_url: str, tmp_path: Path) -> None:
    warned = "action=access.locked"
    (locked := tmp_path / "locked").mkdir()
    with running_api(locked, database_url, COMMANDCENTER_AUTH="keys") as api:
        lines = lambda: [line for line in api.log.read_text().splitlines() if warned in line]  # noqa: E731
        (line,) = eventually(lines, 10, "the warning")
        assert "COMMANDCENTER_ADMIN_KEY" in line
        api.rows("INSERT INTO api_keys (name, prefix, digest, role) VALUES ('first', 'abc', '\\x00', 'admin')")
    (open_ := tmp_path / "open").mkdir()
    with running_api(open_, database_url, COMMANDCENTER_AUTH="keys") as api:
        ready = lambda: api.client.get("/readyz").status_code == 200  # noqa: E731
        eventually(ready, 10, "the api is ready")
        assert warned not in api.log.read_text()
