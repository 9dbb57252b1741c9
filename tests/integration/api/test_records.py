"""What the api only reads: the delivery log, the audit log and its proof, the band on a schedule."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from shared.storage import audit
from shared.storage.audit import Entry
from shared.storage.database import Database
from tests.integration.api.conftest import ADMIN_KEY
from tests.integration.api.support import Api, running_api
from tests.servers import TestServers

NOW = datetime.now(UTC)
VERIFICATION = "/api/v1/audit/verification"


def test_the_delivery_log_of_a_webhook(api: Api) -> None:
    body = {"project_id": 1, "name": "logged", "url": "https://example.com/hook"}
    webhook = api.client.post("/api/v1/webhooks", json=body).json()["id"]
    for number in range(3):
        api.rows(
            "INSERT INTO webhook_deliveries (webhook_id, project_id, schedule_id, job_id, attempt, message_id, event,"
            " url, sent_at, outcome, status_code, duration_seconds, address, response_body, response_cut)"
            " VALUES (%s, 1, 7, 8, %s, 'm', 'schedule.fired', 'https://example.com/hook', %s, 'failed', 503, 0.25,"
            " '192.0.2.1', 'busy', false)",
            webhook,
            number + 1,
            NOW + timedelta(seconds=number),
        )
    path = f"/api/v1/webhooks/{webhook}/deliveries"
    page = api.client.get(path, params={"page_size": 2}).json()
    assert list(page) == ["deliveries", "total", "page", "page_size", "pages"]
    assert (page["total"], page["pages"]) == (3, 2)
    assert [one["attempt"] for one in page["deliveries"]] == [3, 2]
    newest = page["deliveries"][0]
    assert (newest["outcome"], newest["status_code"], newest["duration_seconds"]) == ("failed", 503, 0.25)
    assert newest["response_body"] == "busy"
    assert newest["sent_at"].endswith("Z")
    assert [
        one["attempt"] for one in api.client.get(path, params={"page": 2, "page_size": 2}).json()["deliveries"]
    ] == [1]
    api.client.delete(f"/api/v1/webhooks/{webhook}")
    assert api.client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("successes", "failures", "rate", "band"),
    [
        (0, 0, None, None),
        (96, 4, 96.0, "healthy"),
        (95, 5, 95.0, "investigate"),
        (19_001, 1_000, 95.0, "healthy"),  # shown with one decimal, judged exactly
        (80, 20, 80.0, "investigate"),
        (79, 21, 79.0, "critical"),
    ],
)
def test_a_schedule_shows_its_band(
    api: Api, successes: int, failures: int, rate: float | None, band: str | None
) -> None:
    made = api.create(name=f"band {successes}")
    if successes:
        api.rows(
            "INSERT INTO schedule_statistics (schedule_id, project_id, success_count, failure_count)"
            " VALUES (%s, 1, %s, %s)",
            made["id"],
            successes,
            failures,
        )
    shown = api.client.get(f"/api/v1/schedules/{made['id']}").json()
    assert (shown["success_rate"], shown["band"]) == (rate, band)
    listed = api.client.get("/api/v1/schedules").json()["schedules"][0]
    assert (listed["id"], listed["success_rate"], listed["band"]) == (made["id"], rate, band)


@pytest.fixture
def logged(database_url: str, tmp_path: Path) -> Iterator[Api]:
    """An api with three chains of ten entries."""
    database = Database(database_url, application="test")
    with database.transaction() as connection:
        for chain in ("runs.results/0", "runs.results/1", "schedules/0"):
            heads = audit.lock_chains(connection, [chain])
            entries = [Entry(chain, f"{chain}-{number}", NOW, "run.succeeded", project_id=1) for number in range(10)]
            audit.append(connection, entries, heads)
    database.close()
    environment = {"COMMANDCENTER_AUTH": "keys", "COMMANDCENTER_ADMIN_KEY": ADMIN_KEY}
    with running_api(tmp_path, database_url, **environment) as api:
        api.client.headers["Authorization"] = f"Bearer {ADMIN_KEY}"
        yield api


def follow(api: Api, limit: int) -> list[dict[str, Any]]:
    """Every answer, until complete."""
    answers: list[dict[str, Any]] = []
    parameters: dict[str, Any] = {"limit": limit}
    while True:
        answer = api.client.get(VERIFICATION, params=parameters)
        assert answer.status_code == 200, answer.text
        answers.append(answer.json())
        if answers[-1]["complete"]:
            return answers
        parameters["cursor"] = answers[-1]["cursor"]
        assert len(answers) < 100


def alter(servers: TestServers, api: Api, statement: str, *values: object) -> None:
    """As the superuser, who can silence the triggers."""
    admin = servers.postgres()["admin_url"].rpartition("/")[0] + "/" + api.database_url.rpartition("/")[2]
    connection = psycopg2.connect(admin)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SET session_replication_role = replica")
            cursor.execute(statement, values or None)
    finally:
        connection.close()


def test_the_audit_log_is_proved_in_one_answer_or_many(logged: Api) -> None:
    (whole,) = follow(logged, 100_000)
    assert whole["holds"] is True
    assert whole["entries"] == 30
    assert [one["chain"] for one in whole["chains"]] == ["runs.results/0", "runs.results/1", "schedules/0"]
    assert all(one["to_place"] == one["end_place"] == 10 for one in whole["chains"])
    for limit in (1, 7, 10, 29):
        parts = follow(logged, limit)
        assert all(one["holds"] for one in parts)
        assert parts[-1]["entries"] == 30
        assert all(sum(chain["entries"] for chain in part["chains"]) <= limit for part in parts)
        assert parts[-1]["cursor"] is None


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE audit_log SET actor = 'nobody' WHERE chain = 'runs.results/0' AND place = 4", "place 4 was altered"),
        ("DELETE FROM audit_log WHERE chain = 'runs.results/0' AND place = 4", "place 4 is missing"),
        ("DELETE FROM audit_log WHERE chain = 'runs.results/0' AND place = 10", "the chain ends at place 9"),
    ],
)
def test_what_was_altered_is_named_by_every_later_answer(
    test_servers: TestServers, logged: Api, statement: str, said: str
) -> None:
    alter(test_servers, logged, statement)
    for limit in (5, 100):
        answers = follow(logged, limit)
        assert answers[-1]["holds"] is False
        assert answers[-1]["broken"][0].startswith(f"runs.results/0: {said}")
        assert len(answers[-1]["broken"]) == 1  # the other chains were followed to their ends


def test_the_proof_is_for_admins_over_all_and_its_cursor_cannot_be_forged(logged: Api) -> None:
    for role, project_ids in (("operator", None), ("admin", [1])):
        body = {"name": "x", "role": role, "project_ids": project_ids}
        key = logged.client.post("/api/v1/keys", json=body).json()["key"]
        assert logged.client.get(VERIFICATION, headers={"Authorization": f"Bearer {key}"}).status_code == 403
    cursor = logged.client.get(VERIFICATION, params={"limit": 5}).json()["cursor"]
    for forged in ("x", "AAAA", cursor[:-6] + "AAAA==", "\u00e4", cursor[4:]):
        answer = logged.client.get(VERIFICATION, params={"cursor": forged})
        assert answer.status_code == 422, forged
        assert answer.json()["errors"][0]["field"] == "cursor"


def test_an_entry_that_retention_drops_between_two_answers_is_no_break(test_servers: TestServers, logged: Api) -> None:
    cursor = logged.client.get(VERIFICATION, params={"limit": 5}).json()["cursor"]
    ((digest,),) = logged.rows("SELECT hash FROM audit_log WHERE chain = 'runs.results/0' AND place = 7")
    alter(test_servers, logged, "DELETE FROM audit_log WHERE chain = 'runs.results/0' AND place <= 7")
    alter(
        test_servers,
        logged,
        "INSERT INTO audit_gaps (chain, first_place, last_place, last_hash, partition) VALUES"
        " ('runs.results/0', 1, 7, %s, 'audit_log_x')",
        bytes(digest),
    )
    answer = logged.client.get(VERIFICATION, params={"cursor": cursor}).json()
    assert (answer["holds"], answer["complete"]) == (True, True)
    assert answer["entries"] == 5 + 3 + 20
