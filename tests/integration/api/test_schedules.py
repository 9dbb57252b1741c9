"""Schedules: what each change writes, in one transaction, and what it leaves alone."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.api.support import CREATE, Api
from tests.servers import TestServers


def path(schedule: dict[str, Any], more: str = "") -> str:
    return f"/api/v1/schedules/{schedule['id']}{more}"


def test_creation_writes_definition_version_timer_and_event(api: Api) -> None:
    made = api.create()
    policies = "SELECT timeout_seconds, start_deadline_seconds FROM schedule_versions WHERE schedule_id = %s"
    assert api.rows(policies, made["id"]) == [(3600, None)]
    assert api.rows("SELECT version, name FROM schedule_versions WHERE schedule_id = %s", made["id"]) == [
        (1, made["name"])
    ]
    ((next_run_at,),) = api.rows("SELECT next_run_at FROM schedule_timers WHERE schedule_id = %s", made["id"])
    assert next_run_at == datetime.fromisoformat(made["next_run_at"])
    (message,) = api.messages(made["id"])
    assert message["topic"] == "schedules"
    assert message["headers"]["ce_type"] == "commandcenter.schedule.created.v1"
    assert message["headers"]["traceparent"].startswith("00-")
    value = json.loads(message["value"])
    assert (value["version"], value["before"], value["actor"]["name"]) == (1, None, "anonymous")
    assert value["after"]["task_parameters"] == CREATE["task_parameters"]


def test_a_change_that_changes_nothing_writes_nothing(api: Api) -> None:
    made = api.create(start_time="2026-01-01T00:00:00Z", tags={"a": 1, "b": True})
    same = {"name": made["name"], "tags": {"b": True, "a": 1}, "start_time": "2026-01-01T01:00:00+01:00"}
    answer = api.client.patch(path(made), json=same)
    assert answer.status_code == 200
    assert answer.json()["version"] == 1
    assert answer.json()["updated_at"] == made["updated_at"]
    assert len(api.messages(made["id"])) == 1
    other = api.client.patch(path(made), json={"tags": {"b": 1, "a": 1}})  # equal to Python, not to JSON
    assert other.json()["version"] == 2
    assert other.json()["tags"]["b"] == 1


def test_a_name_moves_no_timer_but_timing_does(api: Api) -> None:
    made = api.create()
    api.make_due(made["id"])
    due = api.client.get(path(made)).json()["next_run_at"]
    renamed = api.client.patch(path(made), json={"name": "Renamed"}).json()
    assert (renamed["next_run_at"], renamed["version"]) == (due, 2)
    weekly = api.client.patch(path(made), json={"frequency": "weekly"}).json()
    assert weekly["next_run_at"] > due
    assert weekly["version"] == 3
    # What was due and unclaimed is on record.
    skip = "SELECT status, reason, skip_count FROM jobs WHERE schedule_id = %s"
    assert api.rows(skip, made["id"]) == [("skipped", "edited", None)]
    types = [message["headers"]["ce_type"] for message in api.messages(made["id"])]
    assert types == [
        "commandcenter.schedule.created.v1",
        "commandcenter.schedule.updated.v1",
        "commandcenter.schedule.updated.v1",
    ]


def test_an_edit_winds_up_what_the_dispatcher_took_off_the_clock(api: Api) -> None:
    """It could not be dispatched; whatever the remedy is, it need not be its timing."""
    made = api.create(max_attempts=3)
    api.rows("UPDATE schedule_timers SET next_run_at = NULL WHERE schedule_id = %s", made["id"])
    answer = api.client.patch(path(made), json={"max_attempts": 4})
    assert answer.json()["next_run_at"] == made["next_run_at"]
    over = api.create(frequency="daily", start_time="2020-01-01T00:00:00Z", end_time="2020-02-01T00:00:00Z")
    answer = api.client.patch(path(over), json={"name": "Long over"})
    assert (answer.json()["next_run_at"], answer.json()["warnings"]) == (None, over["warnings"][:1])  # of its target


@pytest.mark.parametrize("due", [False, True])
def test_what_cannot_be_evaluated_any_more_can_be_disabled_and_deleted(api: Api, due: bool) -> None:
    """A zone that an update of the time zone database took away."""
    first, second = api.create(), api.create()
    for one in (first, second):
        if due:
            api.make_due(one["id"])
        api.rows("UPDATE schedules SET timezone = 'Mars/Olympus' WHERE id = %s", one["id"])
    renamed = api.client.patch(path(first), json={"name": "still on"})
    assert [error["field"] for error in renamed.json()["errors"]] == ["timezone"]
    disabled = api.client.post(path(first, "/disable"))
    assert (disabled.status_code, disabled.json()["enabled"]) == (200, False)
    assert api.client.delete(path(second)).status_code == 204
    skips = "SELECT reason, count(*) FROM jobs WHERE schedule_id IN (%s, %s) GROUP BY 1 ORDER BY 1"
    assert api.rows(skips, first["id"], second["id"]) == ([("deleted", 1), ("disabled", 1)] if due else [])


def test_missed_occurrences_become_one_range(api: Api) -> None:
    two_days_ago = (datetime.now(UTC) - timedelta(days=2)).isoformat()
    made = api.create(frequency="interval", interval_seconds=60, start_time=two_days_ago)
    api.make_due(made["id"], 86_400)
    disabled = api.client.post(path(made, "/disable")).json()
    assert (disabled["enabled"], disabled["next_run_at"]) == (False, None)
    ((status, reason, count),) = api.rows(
        "SELECT status, reason, skip_count FROM jobs WHERE schedule_id = %s", made["id"]
    )
    assert (status, reason) == ("skipped", "disabled")
    assert count in (1440, 1441, 1442)
    enabled = api.client.post(path(made, "/enable")).json()
    assert datetime.fromisoformat(enabled["next_run_at"]) > datetime.now(UTC)  # nothing is caught up
    kinds = [message["headers"]["ce_type"].split(".")[2] for message in api.messages(made["id"])]
    assert kinds == ["created", "disabled", "enabled"]


def test_next_run_never_returns_to_a_claimed_instant(api: Api) -> None:
    made = api.create(frequency="hourly")
    claimed = datetime.fromisoformat(made["next_run_at"])
    api.rows("UPDATE schedule_timers SET last_claimed_for = %s WHERE schedule_id = %s", claimed, made["id"])
    changed = api.client.patch(path(made), json={"timezone": "Asia/Tokyo"}).json()
    assert datetime.fromisoformat(changed["next_run_at"]) == claimed + timedelta(hours=1)


def test_switching_frequency_forgets_what_belonged_to_the_old_one(api: Api) -> None:
    made = api.create(frequency="cron", cron_expression="5 4 * * *")
    daily = api.client.patch(path(made), json={"frequency": "daily"}).json()
    assert (daily["frequency"], daily["cron_expression"]) == ("daily", None)
    refused = api.client.patch(path(made), json={"cron_expression": "5 4 * * *"})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "cron_expression"


def test_execution_claims_the_due_occurrence_once(api: Api) -> None:
    made = api.create(frequency="hourly")
    assert api.client.post(path(made, "/execute")).status_code == 409
    api.make_due(made["id"])
    due = api.client.get(path(made)).json()["next_run_at"]
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(api.client.post(path(made, "/execute")).status_code))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [202, 409, 409, 409, 409, 409]
    ((trigger, scheduled_for, version),) = api.rows(
        "SELECT trigger, scheduled_for, schedule_version FROM jobs WHERE schedule_id = %s", made["id"]
    )
    assert (trigger, scheduled_for, version) == ("schedule", datetime.fromisoformat(due), 1)
    ((claimed,),) = api.rows("SELECT last_claimed_for FROM schedule_timers WHERE schedule_id = %s", made["id"])
    assert claimed == scheduled_for
    (message,) = [one for one in api.messages(made["id"]) if one["topic"] == "runs.due.analysis"]
    assert message["headers"]["ce_type"] == "commandcenter.run.due.v1"


def test_deletion_is_soft_and_cancels_what_waits(api: Api) -> None:
    made = api.create()
    job = api.client.post(path(made, "/execute"), json={"force": True}).json()["job_id"]
    assert api.client.delete(path(made)).status_code == 204
    assert api.client.delete(path(made)).status_code == 404
    assert api.client.get(path(made)).status_code == 404
    messages = api.messages(made["id"])
    assert [message["headers"].get("ce_type", "tombstone").split(".")[1:3] for message in messages] == [
        ["schedule", "created"],
        ["run", "due"],
        ["run", "requested"],
        ["schedule", "deleted"],
        [],
        ["run", "cancelled"],
    ]
    assert messages[4]["value"] is None
    assert api.rows("SELECT worker, ended_at IS NULL FROM run_claims WHERE job_id = %s", job) == [
        ("cancelled:anonymous", False)
    ]
    assert api.client.get(f"/api/v1/jobs/{job}").status_code == 200  # jobs stay


def test_cancelling_a_job_nobody_has_and_one_that_runs(api: Api) -> None:
    made = api.create(overlap_policy="allow")
    waiting, running = (
        api.client.post(path(made, "/execute"), json={"force": True}).json()["job_id"] for _ in range(2)
    )
    ((scheduled_for,),) = api.rows("SELECT scheduled_for FROM jobs WHERE id = %s", running)
    claim = api.client.post(f"/api/v1/jobs/{running}/attempts/1/claim", json={"worker": "w1"})
    assert claim.status_code == 200
    again = api.client.post(f"/api/v1/jobs/{running}/attempts/1/claim", json={"worker": "w2"})
    assert again.status_code == 409
    assert api.client.post(f"/api/v1/jobs/{running}/attempts/1/heartbeat", json={"worker": "w1"}).status_code == 200
    assert api.client.post(f"/api/v1/jobs/{running}/attempts/1/heartbeat", json={"worker": "w2"}).status_code == 409
    assert api.client.post(f"/api/v1/jobs/{waiting}/cancel").status_code == 202
    assert api.client.post(f"/api/v1/jobs/{running}/cancel").status_code == 202
    topics = [message["topic"] for message in api.messages(made["id"])[-4:]]
    assert topics == ["runs.requests", "runs.results", "runs.requests", "runs.control"]
    assert api.client.post(f"/api/v1/jobs/{waiting}/attempts/1/claim", json={"worker": "w1"}).status_code == 409
    assert scheduled_for is not None
    api.rows("UPDATE jobs SET status = 'failed' WHERE id = %s", running)
    assert api.client.post(f"/api/v1/jobs/{running}/cancel").status_code == 409
    retried = api.client.post(f"/api/v1/jobs/{running}/retry")
    assert retried.status_code == 202
    assert retried.json()["job_id"] not in (waiting, running)
    asked = [json.loads(one["value"]) for one in api.messages(made["id"]) if one["topic"] == "runs.requests"]
    assert [(one["request"], one["job_id"], one["retry_of"]) for one in asked] == [
        ("execute", waiting, None),
        ("execute", running, None),
        ("cancel", waiting, None),
        ("cancel", running, None),
        ("retry", retried.json()["job_id"], running),
    ]
    assert {(one["actor"]["name"], one["actor"]["address"]) for one in asked} == {("anonymous", "127.0.0.1")}


def test_if_match(api: Api) -> None:
    made = api.create()
    answer = api.client.get(path(made))
    assert answer.headers["etag"] == '"1"'
    changed = api.client.patch(path(made), json={"name": "two"}, headers={"If-Match": '"1"'})
    assert changed.headers["etag"] == '"2"'
    stale = api.client.patch(path(made), json={"name": "three"}, headers={"If-Match": '"1"'})
    assert stale.status_code == 412
    assert api.client.delete(path(made), headers={"If-Match": '"1"'}).status_code == 412
    assert api.client.delete(path(made), headers={"If-Match": '"2"'}).status_code == 204


def test_idempotency_key(api: Api) -> None:
    headers = {"Idempotency-Key": "create-once"}
    answers: list[Any] = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(api.client.post("/api/v1/schedules", json=CREATE, headers=headers))
        )
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 4
    other = api.client.post("/api/v1/schedules", json={**CREATE, "name": "other"}, headers=headers)
    assert other.status_code == 422
    bad = {"Idempotency-Key": "refused"}
    assert api.client.post("/api/v1/schedules", json={**CREATE, "project_id": 999}, headers=bad).status_code == 422
    assert api.client.post("/api/v1/schedules", json=CREATE, headers=bad).status_code == 201  # nothing was remembered


def test_filters_and_totals(api: Api) -> None:
    project = api.client.post("/api/v1/projects", json={"name": "filters"}).json()["id"]
    ids = [
        api.create(project_id=project, name=f"s{number}", frequency=frequency, enabled=enabled, tags=tags)["id"]
        for number, (frequency, enabled, tags) in enumerate(
            [
                ("daily", True, {"team": "backend", "level": 3}),
                ("daily", False, {"team": "frontend"}),
                ("hourly", True, {"team": "backend"}),
            ]
        )
    ]

    def found(**query: str) -> list[int]:
        body = api.client.get("/api/v1/schedules", params={"project_id": project, **query}).json()
        assert body["total"] == len(body["schedules"])
        return [schedule["id"] for schedule in body["schedules"]]

    assert found() == ids[::-1]
    assert found(enabled="true") == [ids[2], ids[0]]
    assert found(frequency="daily", enabled="false") == [ids[1]]
    assert found(task_type="export") == []
    assert found(**{"tags.team": "backend"}) == [ids[2], ids[0]]
    assert found(**{"tags.team": "backend", "tags.level": "3"}) == [ids[0]]
    assert api.client.get("/api/v1/schedules?tags.team=backend&tags.team=frontend").status_code == 422
    api.client.delete(f"/api/v1/schedules/{ids[0]}")
    assert found() == [ids[2], ids[1]]
    nobodys = api.client.get("/api/v1/schedules", params={"project_id": 0}).json()
    assert (nobodys["schedules"], nobodys["total"]) == ([], 0)
    counted = api.client.get("/api/v1/schedules/statistics/summary", params={"project_id": 0}).json()
    assert (counted["total_schedules"], counted["by_frequency"]) == (0, {})


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"frequency": "once"}, "start_time"),
        ({"frequency": "once", "start_time": "2020-01-01T00:00:00Z"}, "start_time"),
        ({"frequency": "dayly"}, "frequency"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"interval_seconds": 5}, "interval_seconds"),
        ({"frequency": "interval", "interval_seconds": 0}, "interval_seconds"),
        ({"task_type": "dance"}, "task_type"),
        ({"project_id": 999_999}, "project_id"),
        ({"task_parameters": {}}, "task_parameters.repository_id"),
        ({"task_parameters": {"repository_id": "x"}}, "task_parameters.repository_id"),
        ({"task_parameters": {"repository_id": 1, "analysis_typ": "full"}}, "task_parameters.analysis_typ"),
        ({"unknown": 1}, "unknown"),
        ({"name": " "}, "name"),
        ({"name": "a\u0000b"}, "name"),
        ({"tags": {"a": {"b": 1}}}, "tags"),
        ({"start_time": "2026-01-01T00:00:00"}, "start_time"),
        ({"max_attempts": True}, "max_attempts"),
        ({"project_id": 10**30}, "project_id"),
    ],
)
def test_wrong_fields_are_named(api: Api, fields: dict[str, object], field: str) -> None:
    answer = api.client.post("/api/v1/schedules", content=json.dumps({**CREATE, **fields}))
    assert answer.status_code == 422, answer.text
    assert field in [error["field"] for error in answer.json()["errors"]], answer.text


def test_every_wrong_field_is_named_at_once(api: Api) -> None:
    body = {**CREATE, "timezone": "Mars/Olympus", "task_parameters": {"analysis_type": "x"}, "frequency": "cron"}
    fields = [error["field"] for error in api.client.post("/api/v1/schedules", json=body).json()["errors"]]
    assert set(fields) == {
        "timezone",
        "cron_expression",
        "task_parameters.repository_id",
        "task_parameters.analysis_type",
    }


def test_conflicts_are_reported_and_not_refused(api: Api) -> None:
    project = api.client.post("/api/v1/projects", json={"name": "conflicts"}).json()["id"]
    first = api.create(project_id=project, name="first", timezone="UTC")
    assert first["conflicts"] == []
    other_target = api.create(project_id=project, task_parameters={"repository_id": 7}, timezone="UTC")
    assert other_target["conflicts"] == []
    second = api.create(project_id=project, name="second", frequency="hourly", task_parameters={"repository_id": 42})
    (conflict,) = second["conflicts"]
    assert (conflict["schedule_id"], conflict["schedule_name"], conflict["count"]) == (first["id"], "first", 7)
    assert conflict["first_at"] == first["next_run_at"]
    listed = api.client.get(path(first, "/conflicts")).json()["conflicts"]
    assert [one["schedule_id"] for one in listed] == [second["id"]]
    assert f"Schedule {second['id']} coincides with 1 other schedules" in api.log.read_text()
    same = api.client.patch(path(second), json={"name": "second"}).json()
    assert (same["version"], same["conflicts"], same["warnings"]) == (1, second["conflicts"], second["warnings"])
    disabled = api.client.post(path(second, "/disable")).json()
    assert disabled["conflicts"] == []
    assert disabled["warnings"] == second["warnings"] != []
    assert api.client.get(path(first, "/conflicts")).json()["conflicts"] == []


def test_conflicts_are_found_among_every_kind_of_timing(api: Api) -> None:
    """As stored: what is compared comes from the table in columns, whose order is easily confused."""
    project = api.client.post("/api/v1/projects", json={"name": "kinds of timing"}).json()["id"]
    first = (datetime.now(UTC) + timedelta(hours=6)).replace(minute=0, second=0, microsecond=0)
    daily = {"frequency": "cron", "cron_expression": f"0 {first.hour} * * *", "timezone": "UTC", "project_id": project}
    third = (first + timedelta(days=2)).isoformat()
    no_cron = {"cron_expression": None, "start_time": third}
    timings: dict[str, dict[str, Any]] = {
        "same": {},
        "until": {"end_time": third},
        "from": {"start_time": third},
        "in Bogota": {"cron_expression": f"0 {(first.hour - 5) % 24} * * *", "timezone": "America/Bogota"},
        "never": {"cron_expression": f"30 {first.hour} * * *"},
        "once": no_cron | {"frequency": "once"},
        "interval": no_cron | {"frequency": "interval", "interval_seconds": 36 * 3600},
    }
    made = {name: api.create(**(daily | {"name": name} | timing))["id"] for name, timing in timings.items()}
    found = api.create(**(daily | {"name": "asked"}))["conflicts"]
    counts = {one["schedule_name"]: one["count"] for one in found}
    assert counts == {"same": 7, "until": 3, "from": 5, "in Bogota": 7, "once": 1, "interval": 2}
    assert all(made[one["schedule_name"]] == one["schedule_id"] for one in found)


def test_preview_and_occurrences_agree_and_show_clock_changes(api: Api) -> None:
    timing = {"frequency": "cron", "cron_expression": "30 2 * * *", "timezone": "America/New_York"}
    made = api.create(**timing)
    query: dict[str, Any] = {"count": 3, "after": "2027-03-13T12:00:00Z"}
    preview = api.client.post("/api/v1/schedules/preview", json={**timing, **query}).json()
    assert [one["local"] for one in preview["occurrences"]] == [
        "2027-03-14T03:00:00-04:00",
        "2027-03-15T02:30:00-04:00",
        "2027-03-16T02:30:00-04:00",
    ]
    assert preview["occurrences"][0]["dst"] == "moved"
    assert preview["timezone"] == "America/New_York"
    assert "02:30" in preview["description"]
    stored = api.client.get(path(made, "/occurrences"), params=query).json()
    assert stored["occurrences"] == preview["occurrences"]


def test_an_interval_anchored_at_its_creation_runs_on_whole_seconds(api: Api) -> None:
    made = api.create(frequency="interval", interval_seconds=1)
    anchor = datetime.fromisoformat(made["created_at"])
    assert datetime.fromisoformat(made["next_run_at"]) - anchor <= timedelta(seconds=1)
    assert datetime.fromisoformat(made["next_run_at"]).microsecond == 0


def test_lists_and_single_answers_show_the_same(api: Api) -> None:
    made = api.create(
        frequency="interval",
        interval_seconds=90,
        start_time="2026-01-01T00:00:00.5Z",
        end_time="2126-01-01T00:00:00Z",
        tags={"a": "b", "n": 1.5, "t": True},
        jitter_seconds=20,
        start_deadline_seconds=60,
    )
    statistics = (made["id"], 7, 2)
    api.rows(
        "INSERT INTO schedule_statistics (schedule_id, project_id, success_count, failure_count, last_run_at,"
        " last_status) VALUES (%s, 1, %s, %s, now(), 'succeeded')",
        *statistics,
    )
    single = api.client.get(path(made)).json()
    (listed,) = (
        one
        for one in api.client.get("/api/v1/schedules", params={"page_size": 5}).json()["schedules"]
        if one["id"] == made["id"]
    )
    assert list(listed.items()) == list(single.items())
    assert listed["success_rate"] == 77.8


def test_a_neighbour_whose_zone_went_away_stops_nobody(api: Api) -> None:
    """Another process's time zone database may have a zone that this one's has not."""
    target = {"task_parameters": {"repository_id": 4242}}
    gone = api.create(frequency="cron", cron_expression="0 3 * * *", timezone="UTC", **target)
    api.rows("UPDATE schedules SET timezone = 'Mars/Olympus' WHERE id = %s", gone["id"])
    beside = api.create(frequency="cron", cron_expression="0 3 * * *", timezone="UTC", **target)
    assert beside["conflicts"] == []
    assert api.client.patch(path(beside), json={"name": "renamed"}).status_code == 200
    assert api.client.get(path(beside, "/conflicts")).status_code == 200


def test_a_held_job_cannot_be_claimed_from_elsewhere(api: Api) -> None:
    made = api.create(overlap_policy="buffer_one")
    job = api.client.post(path(made, "/execute"), json={"force": True}).json()["job_id"]
    api.rows("UPDATE jobs SET held = true WHERE id = %s", job)
    claim = f"/api/v1/jobs/{job}/attempts/1/claim"
    refused = api.client.post(claim, json={"worker": "elsewhere"})
    assert refused.status_code == 409
    assert "waits for its schedule's other runs" in refused.json()["detail"]
    api.rows("UPDATE jobs SET held = false WHERE id = %s", job)
    assert api.client.post(claim, json={"worker": "elsewhere"}).status_code == 200


def test_a_setting_that_changed_keeps_nothing_from_being_changed(api: Api) -> None:
    """What is stored was judged when it came: a url that would be refused now can be disabled and renamed."""
    hook = api.client.post(
        "/api/v1/webhooks",
        json={"project_id": 1, "name": "h", "url": "https://example.com/a", "events": ["run.failed"], "enabled": False},
    ).json()
    api.rows("UPDATE webhooks SET url = 'ftp://example.com' WHERE id = %s", hook["id"])
    address = f"/api/v1/webhooks/{hook['id']}"
    assert api.client.patch(address, json={"name": "renamed"}).json()["name"] == "renamed"
    assert api.client.patch(address, json={"url": "ftp://example.org"}).status_code == 422
    again = api.client.patch(address, json={"events": None, "enabled": None}).json()
    assert (again["events"], again["enabled"]) == ([], True)
    repository = api.client.post(
        "/api/v1/repositories", json={"project_id": 1, "name": "r", "url": "https://example.com/r.git"}
    ).json()
    api.rows("UPDATE repositories SET url = 'ftp://example.com' WHERE id = %s", repository["id"])
    address = f"/api/v1/repositories/{repository['id']}"
    assert api.client.patch(address, json={"name": "renamed"}).json()["name"] == "renamed"


def test_a_request_that_fails_unexpectedly_is_found_in_the_log_by_its_id(api: Api, test_servers: TestServers) -> None:
    made = api.create()
    owner = replace(api, database_url=test_servers.owner_url(api.database_url))
    owner.rows("ALTER TABLE schedule_statistics RENAME TO away")
    try:
        answer = api.client.get(path(made), headers={"X-Request-Id": "find-me-1"})
    finally:
        owner.rows("ALTER TABLE away RENAME TO schedule_statistics")
    assert answer.status_code == 500
    lines = [line for line in api.log.read_text().splitlines() if "request_id=find-me-1" in line]
    assert any("A request failed unexpectedly" in line for line in lines)
