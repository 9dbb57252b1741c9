"""The main job, end to end: a schedule created over REST runs for real, and everyone can see what happened."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from tests.http import call
from tests.stack import Stack
from tests.topics import read_all
from tests.waiting import eventually

SCHEMAS: dict[str, Any] = json.loads((Path(__file__).resolve().parents[2] / "docs" / "asyncapi.json").read_text())[
    "components"
]["schemas"]


def _create(stack: Stack, **fields: Any) -> dict[str, Any]:
    body = {"project_id": 1, "name": "Check", "task_type": "health_check", "frequency": "daily", **fields}
    status, schedule = call(f"{stack.api_url}/api/v1/schedules", body)
    assert status == 201, schedule
    created: dict[str, Any] = schedule
    return created


def _jobs(stack: Stack, schedule_id: int, **filters: str) -> list[dict[str, Any]]:
    query = "&".join(f"{name}={value}" for name, value in {"tags.schedule_id": str(schedule_id), **filters}.items())
    status, page = call(f"{stack.api_url}/api/v1/jobs?page_size=100&{query}")
    assert status == 200, page
    jobs: list[dict[str, Any]] = page["jobs"]
    return jobs


def test_a_schedule_of_one_second_runs_once_a_second(stack: Stack) -> None:
    schedule = _create(stack, name="Every second", frequency="interval", interval_seconds=1, task_parameters={})
    eventually(lambda: len(_jobs(stack, schedule["id"], status="succeeded")) >= 4, 20, "four runs")
    status, _ = call(f"{stack.api_url}/api/v1/schedules/{schedule['id']}", method="DELETE")
    assert status == 204
    eventually(lambda: all(job["finished_at"] for job in _jobs(stack, schedule["id"])), 15, "every job ended")

    jobs = sorted(_jobs(stack, schedule["id"]), key=lambda job: job["scheduled_for"])
    instants = [job["scheduled_for"] for job in jobs]
    assert len(set(instants)) == len(instants)
    assert all(job["trigger"] in {"schedule", "catchup"} for job in jobs)

    prefix = stack.topic_prefix
    seen = read_all(stack.bootstrap_servers, [f"{prefix}runs.due.health_check", f"{prefix}runs.results"])
    mine = [message for message in seen if message.key == str(schedule["id"])]
    for message in mine:
        name = message.headers["ce_type"]
        assert message.headers["ce_specversion"] == "1.0"
        assert message.headers["ce_scheduleid"] == str(schedule["id"])
        Draft202012Validator(SCHEMAS[name.removeprefix("commandcenter.")]).validate(message.data)
    for word in ("due", "started", "succeeded"):
        ids = [m.headers["ce_jobid"] for m in mine if m.headers["ce_type"] == f"commandcenter.run.{word}.v1"]
        assert len(ids) == len(set(ids)), f"run.{word} twice"
        assert {int(i) for i in ids} >= {job["id"] for job in jobs if job["status"] == "succeeded"}


def test_a_manual_run_analyses_a_real_repository(stack: Stack, tmp_path: Path) -> None:
    source = tmp_path / "repository"
    source.mkdir()
    (source / "bad.py").write_text("import os\nimport subprocess\n\nsubprocess.call(input(), shell=True)\n")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-C", str(source)]
    subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()

    status, repository = call(
        f"{stack.api_url}/api/v1/repositories", {"project_id": 1, "name": "bad", "url": str(source)}
    )
    assert status == 201, repository
    parameters = {"repository_id": repository["id"], "analysis_type": "full"}
    schedule = _create(stack, name="Nightly analysis", task_type="analysis", task_parameters=parameters)
    status, executed = call(f"{stack.api_url}/api/v1/schedules/{schedule['id']}/execute", {"force": True})
    assert status == 202, executed
    assert executed["next_run_at"] == schedule["next_run_at"]
    assert executed["message"] == f"Schedule executed successfully, job {executed['job_id']} created"

    job_url = f"{stack.api_url}/api/v1/jobs/{executed['job_id']}"
    job = eventually(lambda: _ended(job_url), 60, "the analysis ended")
    assert job["status"] == "succeeded", job
    assert job["trigger"] == "manual"
    assert job["result"]["commit"] == commit
    assert job["result"]["findings"]["by_tool"].get("bandit", 0) >= 1
    (artifact,) = [a for a in job["artifacts"] if a["name"].endswith(".sarif")]
    status, sarif = call(f"{job_url}/artifacts/{artifact['name']}")
    assert status == 200
    assert sarif["version"] == "2.1.0"
    assert sum(len(run["results"]) for run in sarif["runs"]) == job["result"]["findings"]["total"]

    status, after = call(f"{stack.api_url}/api/v1/schedules/{schedule['id']}")
    assert status == 200
    assert (after["run_count"], after["success_count"], after["success_rate"]) == (1, 1, 100.0)
    status, audit = call(f"{stack.api_url}/api/v1/audit?schedule_id={schedule['id']}")
    assert status == 200
    assert len(audit["entries"]) >= 2
    (executed_by,) = [one for one in audit["entries"] if one["action"] == "job.execute"]
    assert (executed_by["actor"], executed_by["address"]) == ("anonymous", "127.0.0.1")
    assert executed_by["job_id"] == executed["job_id"]


def test_a_job_whose_repository_is_missing_fails_and_says_so(stack: Stack) -> None:
    schedule = _create(
        stack, name="Nothing there", task_type="analysis", task_parameters={"repository_id": 987654}, max_attempts=1
    )
    assert schedule["warnings"]
    _, executed = call(f"{stack.api_url}/api/v1/schedules/{schedule['id']}/execute", {"force": True})
    job = eventually(lambda: _ended(f"{stack.api_url}/api/v1/jobs/{executed['job_id']}"), 30, "it failed")
    assert job["status"] == "failed"
    assert "987654" in job["error"]
    _, after = call(f"{stack.api_url}/api/v1/schedules/{schedule['id']}")
    assert "987654" in after["last_error"]
    assert after["failure_count"] == 1


def test_who_moved_a_webhook_is_in_the_audit_log(stack: Stack) -> None:
    api = f"{stack.api_url}/api/v1"
    body = {"project_id": 1, "name": "moved", "url": "https://example.com/before"}
    status, webhook = call(f"{api}/webhooks", body)
    assert status == 201, webhook
    status, _ = call(f"{api}/webhooks/{webhook['id']}", {"url": "https://example.com/after"}, "PATCH")
    assert status == 200
    find = f"{api}/audit?action=webhook.updated&project_id=1"
    (entry,) = eventually(lambda: call(find)[1]["entries"], 15, "the change is audited")
    assert (entry["actor"], entry["address"]) == ("anonymous", "127.0.0.1")
    assert entry["detail"]["before"]["url"] == "https://example.com/before"
    assert entry["detail"]["after"]["url"] == "https://example.com/after"
    assert webhook["secret"] not in json.dumps(entry)


def test_every_service_answers_its_probes(stack: Stack) -> None:
    for service in ("api", "dispatcher", "worker", "health"):
        for path in ("livez", "readyz"):
            status, body = call(f"{stack.url(service)}/{path}")
            assert status == 200, (service, path, body)


def _ended(url: str) -> dict[str, Any] | None:
    status, job = call(url)
    assert status == 200, job
    return job if job["finished_at"] else None
