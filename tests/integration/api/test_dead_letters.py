"""Dead letters over HTTP: who sees which, what they show, and what sending one again puts into the outbox."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from services.dispatcher.encoding import decode_row
from shared.events.envelope import Event, encode
from shared.events.types import RunDue
from shared.storage import dead_letters
from shared.storage.database import Database
from shared.storage.dead_letters import Letter
from tests.integration.api.support import Api

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PATH = "/api/v1/dead-letters"
GARBAGE = b"\x00\xff\xfenot text"


def keep(api: Api, **fields: Any) -> int:
    """A letter as health keeps it; its id."""
    letter = {
        "kafka_partition": 3,
        "kafka_offset": int(api.rows("SELECT count(*) FROM dead_letters WHERE kafka_partition = 3")[0][0]),
        "put_aside_at": NOW,
        "reason": "unreadable: \x00",
        "consumer": "worker",
        "topic": "runs.due.sync",
        "truncated": False,
        "key": b"\xff",
        "headers": [("a", b"\x1b[31m"), ("a", None)],
        "value": GARBAGE,
        "project_id": 1,
        **fields,
    }
    database = Database(api.database_url, application="test")
    try:
        with database.transaction() as connection:
            dead_letters.add(connection, [Letter(**letter)])
            dead_letters.add(connection, [Letter(**letter)])  # read twice: kept once
    finally:
        database.close()
    place = letter["kafka_offset"]
    ((letter_id,),) = api.rows("SELECT id FROM dead_letters WHERE kafka_partition = 3 AND kafka_offset = %s", place)
    return int(letter_id)


def due(schedule: dict[str, Any], job_id: int) -> dict[str, Any]:
    """The fields of a letter that is a run."""
    data = RunDue(
        job_id=job_id,
        attempt=1,
        schedule_id=schedule["id"],
        project_id=1,
        task_type="health_check",
        scheduled_for=NOW,
        schedule_version=1,
        schedule_name="x",
        trigger="schedule",
        task_parameters={},
        dispatched_at=NOW,
        max_attempts=1,
        retry_first_seconds=1,
        retry_cap_seconds=1,
        timeout_seconds=1,
    )
    message = encode("runs.due.health_check", Event("e", "/s", NOW, data, schedule["id"], job_id))
    headers = [(name, value.encode()) for name, value in message.headers.items()]
    return {
        "topic": message.topic,
        "key": message.key.encode(),
        "headers": headers,
        "value": (message.value or "").encode(),
        "schedule_id": schedule["id"],
        "job_id": job_id,
        "event_type": data.TYPE,
    }


def outbox(api: Api) -> list[Any]:
    """The messages of the newest outbox row, as the relay reads them."""
    ((text,),) = api.rows("SELECT messages FROM outbox ORDER BY id DESC LIMIT 1")
    return decode_row(text)


def test_a_letter_is_listed_and_shown(api: Api) -> None:
    letter_id = keep(api)
    listed = api.client.get(PATH, params={"topic": "runs.due.sync"}).json()
    assert list(listed) == ["dead_letters", "total", "page", "page_size", "pages"]
    shown = next(one for one in listed["dead_letters"] if one["id"] == letter_id)
    assert shown["reason"] == "unreadable: \ufffd"
    assert (shown["size"], shown["resent_at"], shown["project_id"]) == (len(GARBAGE), None, 1)
    whole = api.client.get(f"{PATH}/{letter_id}").json()
    assert whole["place"] == shown["place"]
    assert whole["value"] is None
    assert base64.b64decode(whole["value_base64"]) == GARBAGE
    assert whole["headers"] == [{"name": "a", "value": "\x1b[31m"}, {"name": "a", "value": None}]
    assert api.client.get(f"{PATH}/999999").status_code == 404


def test_what_nobody_could_read_goes_back_byte_for_byte(api: Api) -> None:
    letter_id = keep(api)
    answer = api.client.post(f"{PATH}/{letter_id}/resend", headers={"Idempotency-Key": f"again-{letter_id}"})
    assert answer.status_code == 202, answer.text
    assert answer.json() == {
        "dead_letter_id": letter_id,
        "job_id": None,
        "topic": "runs.due.sync",
        "message": "The message goes to runs.due.sync again, as it was",
    }
    (message,) = outbox(api)
    assert message == ("runs.due.sync", b"\xff", [("a", b"\x1b[31m"), ("a", None)], GARBAGE)
    rows = api.rows("SELECT count(*) FROM outbox")
    repeated = api.client.post(f"{PATH}/{letter_id}/resend", headers={"Idempotency-Key": f"again-{letter_id}"})
    assert repeated.json() == answer.json()
    assert api.rows("SELECT count(*) FROM outbox") == rows
    shown = api.client.get(f"{PATH}/{letter_id}").json()
    assert shown["resent_by"] == "anonymous"
    assert shown["resent_at"] is not None


def test_a_run_that_was_given_up_runs_anew_once_its_job_has_ended(api: Api) -> None:
    schedule = api.create(task_type="health_check", task_parameters={})
    job = api.client.post(f"/api/v1/schedules/{schedule['id']}/execute", json={"force": True}).json()["job_id"]
    letter_id = keep(api, **due(schedule, job))
    refused = api.client.post(f"{PATH}/{letter_id}/resend")
    assert refused.status_code == 409
    assert "has not ended" in refused.json()["detail"]
    api.rows("UPDATE jobs SET status = 'failed' WHERE id = %s", job)
    answer = api.client.post(f"{PATH}/{letter_id}/resend")
    assert answer.status_code == 202, answer.text
    made = answer.json()["job_id"]
    assert answer.headers["location"] == f"/api/v1/jobs/{made}"
    assert answer.json()["message"] == f"Job {made} runs the work of job {job} again"
    assert api.client.get(f"/api/v1/jobs/{made}").json()["trigger"] == "manual"
    assert api.client.get(f"{PATH}/{letter_id}").json()["resent_job_id"] == made
    assert f"Dead letter {letter_id} is sent again" in api.log.read_text()
    asked = [orjson.loads(one["value"]) for one in api.messages(schedule["id"]) if one["topic"] == "runs.requests"]
    assert (asked[-1]["request"], asked[-1]["job_id"], asked[-1]["retry_of"]) == ("retry", made, job)
    api.client.delete(f"/api/v1/schedules/{schedule['id']}")
    assert api.client.post(f"{PATH}/{letter_id}/resend").status_code == 409


@pytest.mark.parametrize(
    "fields",
    [
        {"truncated": True},
        {"topic": None},
        {"topic": "runs.dead"},
        {"topic": "elsewhere"},
        {"topic": "runs.due.../x"},
        {"topic": "schedules"},
        {"topic": "schedules", "headers": [("ce_id", b"schedule-1-x")]},
    ],
)
def test_what_cannot_help_is_not_sent(api: Api, fields: dict[str, Any]) -> None:
    before = api.rows("SELECT count(*) FROM outbox")
    assert api.client.post(f"{PATH}/{keep(api, **fields)}/resend").status_code == 409
    assert api.rows("SELECT count(*) FROM outbox") == before


def test_an_older_change_never_comes_after_a_newer_one(api: Api) -> None:
    """The topic of changes is compacted: whatever comes last is what stays."""
    schedule = api.create()
    letter = {"topic": "schedules", "key": str(schedule["id"]).encode(), "value": b"{}"}
    letter_id = keep(api, **letter, headers=[("ce_id", f"schedule-{schedule['id']}-1".encode())])
    assert api.client.post(f"{PATH}/{letter_id}/resend").status_code == 202
    api.client.patch(f"/api/v1/schedules/{schedule['id']}", json={"name": "newer"})
    answer = api.client.post(f"{PATH}/{letter_id}/resend")
    assert answer.status_code == 409
    assert "hide the later ones" in answer.json()["detail"]


def test_a_letter_without_a_project_is_for_those_who_see_all(guarded_api: Api) -> None:
    nobodys, ours = keep(guarded_api, project_id=None), keep(guarded_api, project_id=1)
    body = {"name": "bounded", "role": "admin", "project_ids": [1]}
    key = guarded_api.client.post("/api/v1/keys", json=body).json()["key"]
    headers = {"Authorization": f"Bearer {key}"}
    listed = guarded_api.client.get(PATH, headers=headers, params={"page_size": 100}).json()
    assert {one["project_id"] for one in listed["dead_letters"]} == {1}
    assert guarded_api.client.get(f"{PATH}/{ours}", headers=headers).status_code == 200
    assert guarded_api.client.get(f"{PATH}/{nobodys}", headers=headers).status_code == 404
    assert guarded_api.client.post(f"{PATH}/{nobodys}/resend", headers=headers).status_code == 404
    assert guarded_api.client.get(f"{PATH}/{nobodys}").status_code == 200


def test_a_run_of_another_project_is_not_run_through_ones_own_letter(guarded_api: Api) -> None:
    """Whoever can write to Kafka could name any schedule in a message that lands in their own project."""
    theirs = guarded_api.client.post("/api/v1/projects", json={"name": "theirs"}).json()["id"]
    schedule = guarded_api.create(project_id=theirs, task_type="health_check", task_parameters={})
    letter_id = keep(guarded_api, **{**due(schedule, 999_999), "project_id": 1})
    body = {"name": "bounded", "role": "operator", "project_ids": [1]}
    key = guarded_api.client.post("/api/v1/keys", json=body).json()["key"]
    answer = guarded_api.client.post(f"{PATH}/{letter_id}/resend", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 409
    assert guarded_api.rows("SELECT count(*) FROM jobs WHERE schedule_id = %s", schedule["id"]) == [(0,)]


def test_the_outbox_tells_bytes_from_text(api: Api) -> None:
    keep(api)
    stored = orjson.loads(api.rows("SELECT headers FROM dead_letters ORDER BY id DESC LIMIT 1")[0][0])
    assert stored == [["a", base64.b64encode(b"\x1b[31m").decode()], ["a", None]]
