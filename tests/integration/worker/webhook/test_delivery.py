"""Deliveries by the real handler: a real database, a server that behaves as told, a foreign process that verifies."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.worker.settings import Settings
from services.worker.task import PermanentError, TemporaryError
from shared.secrets import SecretBox
from shared.storage import deliveries
from shared.storage.database import Database
from shared.webhook_secrets import new_secret
from tests.hostile_server import HostileServer
from tests.integration.worker.webhook.endpoints import Deliverer
from tests.servers import TestServers


@pytest.fixture(scope="module")
def database(test_servers: TestServers) -> Iterator[Database]:
    """One for the module: each test sweeps it first, which is faster than a new one."""
    url = test_servers.create_database(migrated=True)
    opened = Database(url, application="test")
    yield opened
    opened.close()
    test_servers.drop_database(url)


@pytest.fixture
def deliverer(database: Database, tmp_path: Path) -> Deliverer:
    with database.transaction() as connection:
        for statement in ("webhook_deliveries", "webhooks", "projects WHERE id <> 1"):
            connection.exec_driver_sql(f"DELETE FROM {statement}")
    return Deliverer(Settings(database_url=database.url, home=tmp_path, webhook_timeout_seconds=2.0), database)


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with HostileServer() as running:
        yield running


@contextmanager
def foreign_receiver(secret: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A verifier in a process that knows nothing of this project: its URL, and the process whose lines tell."""
    script = Path(__file__).with_name("receiver.py")
    process = subprocess.Popen([sys.executable, "-I", str(script), secret], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/hook", process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def told(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def test_a_foreign_process_verifies_what_was_sent(deliverer: Deliverer) -> None:
    secret = new_secret()
    with foreign_receiver(secret) as (url, process):
        webhook = deliverer.webhook(url, secrets=[secret])
        result = deliverer.deliver(webhook, {"name": "Zoë ☃", "n": [1, None]})
        line = told(process)
        assert (result["delivered"], result["status_code"]) == (True, 204)
        assert line["verified"]["type"] == "schedule.fired"
        assert line["verified"]["data"]["payload"] == {"name": "Zoë ☃", "n": [1, None]}
        assert line["id"] == result["message_id"]

        stranger = deliverer.webhook(url, secrets=[new_secret()])
        with pytest.raises(PermanentError, match="the receiver answered 401"):
            deliverer.deliver(stranger)
        assert told(process) == {"refused": "No matching signature found"}


def test_while_a_secret_is_rotated_old_and_new_receivers_verify(deliverer: Deliverer) -> None:
    old, new = new_secret(), new_secret()
    for known in (old, new):
        with foreign_receiver(known) as (url, process):
            deliverer.deliver(deliverer.webhook(url, secrets=[new, old]))
            assert "verified" in told(process)


def test_every_attempt_is_on_record_and_a_retry_is_the_same_message(
    deliverer: Deliverer, server: HostileServer
) -> None:
    server.answers["flaky"] = [503, 429, 200]
    webhook = deliverer.webhook(server.url("/script/flaky"))
    before = len(server.received)
    for attempt in (1, 2):
        with pytest.raises(TemporaryError):
            deliverer.deliver(webhook, {"x": 1}, attempt=attempt)
    result = deliverer.deliver(webhook, {"x": 1}, attempt=3)
    sent = server.received[before:]
    assert len({one.headers["webhook-id"] for one in sent}) == 1
    assert len({one.body for one in sent}) == 1
    assert result["message_id"] == sent[0].headers["webhook-id"]
    rows = deliverer.log(webhook)
    assert [(row.attempt, row.outcome, row.status_code) for row in rows] == [
        (1, "failed", 503),
        (2, "failed", 429),
        (3, "delivered", 200),
    ]
    assert {(row.job_id, row.response_body, row.response_cut, row.address) for row in rows} == {
        (99, "answer", False, "127.0.0.1")
    }
    assert all(0 < row.duration_seconds < 2 for row in rows)
    assert [row.error for row in rows] == [
        "the receiver answered 503",
        "the receiver answered 429",
        None,
    ]


def test_a_busy_receiver_says_when_to_come_back(deliverer: Deliverer, server: HostileServer) -> None:
    with pytest.raises(TemporaryError) as busy:
        deliverer.deliver(deliverer.webhook(server.url("/status/429?Retry-After:120")))
    assert busy.value.retry_after == timedelta(seconds=120)
    assert busy.value.result is not None
    assert busy.value.result["status_code"] == 429


def test_gone_disables_the_webhook_and_says_so_from_then_on(deliverer: Deliverer, server: HostileServer) -> None:
    webhook = deliverer.webhook(server.url("/status/410"))
    with pytest.raises(PermanentError, match="410 Gone"):
        deliverer.deliver(webhook)
    row = deliverer.row(webhook)
    assert (row.enabled, row.version) == (False, 2)
    assert row.disabled_reason == "the receiver answered 410 Gone: no more deliveries are wanted"
    connections = server.connections
    with pytest.raises(PermanentError, match=r"is disabled: the receiver answered 410 Gone"):
        deliverer.deliver(webhook, job_id=100)
    assert server.connections == connections
    assert [one.outcome for one in deliverer.log(webhook)] == ["gone"]


def test_a_webhook_that_was_pointed_elsewhere_meanwhile_stays_enabled(deliverer: Deliverer) -> None:
    webhook = deliverer.webhook("http://127.0.0.1:9/new")
    with deliverer.database.transaction() as connection:
        now = deliverer.row(webhook).created_at
        assert not deliveries.disable(connection, webhook, "http://127.0.0.1:9/old", "gone", now)
    assert deliverer.row(webhook).enabled


def test_an_endpoint_is_sent_only_the_events_it_wants(deliverer: Deliverer, server: HostileServer) -> None:
    webhook = deliverer.webhook(server.url("/status/200"), events=["report.ready"])
    connections = server.connections
    result = deliverer.deliver(webhook)
    assert result["delivered"] is False
    assert result["filtered"] == "the webhook does not subscribe to schedule.fired"
    assert (server.connections, deliverer.log(webhook)) == (connections, [])
    assert deliverer.deliver(webhook, event="report.ready")["delivered"] is True


def test_a_redirect_to_the_metadata_service_is_not_followed(deliverer: Deliverer, server: HostileServer) -> None:
    webhook = deliverer.webhook(server.url("/redirect/"))
    with pytest.raises(PermanentError, match="answered 302, and redirects are not followed"):
        deliverer.deliver(webhook)
    assert [(row.outcome, row.status_code) for row in deliverer.log(webhook)] == [("rejected", 302)]


@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/latest/meta-data/", "http://[::ffff:169.254.169.254]/", "http://2852039166/",
     "http://10.1.2.3/", "http://[fd00:ec2::254]/", "http://0.0.0.0:8000/", "http://[64:ff9b::a9fe:a9fe]/"],
)  # fmt: skip
def test_forbidden_addresses_are_refused_and_on_record(deliverer: Deliverer, url: str) -> None:
    webhook = deliverer.webhook(url)
    with pytest.raises(PermanentError, match="which is"):
        deliverer.deliver(webhook)
    assert [(row.outcome, row.status_code) for row in deliverer.log(webhook)] == [("refused", None)]


def test_this_machine_is_forbidden_once_the_host_is_not_loopback(deliverer: Deliverer, server: HostileServer) -> None:
    webhook = deliverer.webhook(server.url("/status/200"))
    connections = server.connections
    for change in ({"host": "0.0.0.0"}, {"allow_loopback": False}):
        with pytest.raises(PermanentError, match="which is this machine itself"):
            deliverer.deliver(webhook, **change)
    assert server.connections == connections
    assert deliverer.deliver(webhook, host="0.0.0.0", allow_loopback=True)["delivered"] is True


def test_a_body_is_kept_capped_and_storable(deliverer: Deliverer, server: HostileServer) -> None:
    webhook = deliverer.webhook(server.url("/endless/"))
    assert deliverer.deliver(webhook)["delivered"] is True
    row = deliverer.log(webhook)[0]
    assert (len(row.response_body), row.response_cut) == (4_096, True)
    with deliverer.database.transaction() as connection:
        deliveries.finish(connection, row.id, deliveries.Finished("delivered", 1.0, 200, response_body="a\x00b"))
    assert deliverer.log(webhook)[0].response_body == "a\ufffdb"


@pytest.mark.parametrize(
    ("path", "outcome", "sentence"),
    [
        ("/drip-body/", "delivered", ""),
        ("/drip-headers/", "failed", "no answer within 0.5 s"),
        ("/silent/", "failed", "no answer within 0.5 s"),
        ("/huge-headers/", "failed", "the answer is no HTTP"),
        ("/close/", "failed", "closed without an answer"),
    ],
)
def test_a_hostile_receiver_holds_a_delivery_no_longer_than_its_time(
    deliverer: Deliverer, server: HostileServer, path: str, outcome: str, sentence: str
) -> None:
    webhook = deliverer.webhook(server.url(path))
    started = time.monotonic()
    if outcome == "delivered":
        assert deliverer.deliver(webhook, webhook_timeout_seconds=0.5)["delivered"] is True
    else:
        with pytest.raises(TemporaryError, match=sentence):
            deliverer.deliver(webhook, webhook_timeout_seconds=0.5)
    assert time.monotonic() - started < 3
    row = deliverer.log(webhook)[0]
    assert row.outcome == outcome
    assert sentence in (row.error or "")


def test_what_cannot_be_delivered_says_why(deliverer: Deliverer, server: HostileServer, tmp_path: Path) -> None:
    with deliverer.database.transaction() as connection:
        connection.exec_driver_sql("INSERT INTO projects (id, name) VALUES (2, 'other')")
    foreign = deliverer.webhook(server.url("/status/200"), project_id=2)
    for webhook, sentence in ((foreign, f"project 1 has no webhook {foreign}"), (404, "project 1 has no webhook 404")):
        with pytest.raises(PermanentError, match=sentence):
            deliverer.deliver(webhook)
    off = deliverer.webhook(server.url("/status/200"), enabled=False)
    with pytest.raises(PermanentError, match=f"webhook {off} is disabled$"):
        deliverer.deliver(off)
    lost = deliverer.webhook(server.url("/status/200"))
    (tmp_path / "elsewhere").mkdir()
    SecretBox.open(None, tmp_path / "elsewhere")
    with pytest.raises(PermanentError, match="sealed with another key"):
        deliverer.deliver(lost, home=tmp_path / "elsewhere")
    bare = deliverer.webhook(server.url("/status/200"))
    with deliverer.database.transaction() as connection:
        connection.exec_driver_sql(f"UPDATE webhooks SET secrets_encrypted = NULL WHERE id = {bare}")
    with pytest.raises(PermanentError, match="has no secret to sign with"):
        deliverer.deliver(bare)


def test_the_log_is_listed_newest_first_and_is_no_deliverys_to_shorten(
    deliverer: Deliverer, server: HostileServer
) -> None:
    webhook, other = deliverer.webhook(server.url("/status/200")), deliverer.webhook(server.url("/status/200"))
    for one in (webhook, other):
        deliverer.deliver(one)
    with deliverer.database.transaction() as connection:
        connection.exec_driver_sql("UPDATE webhook_deliveries SET sent_at = sent_at - interval '31 days'")
    deliverer.deliver(webhook, job_id=100)
    with deliverer.database.transaction() as connection:
        rows, total = deliveries.list_page(connection, webhook, 1, 10)
    assert (total, [row.job_id for row in rows]) == (2, [100, 99])
    assert [row.job_id for row in deliverer.log(other)] == [99]


def test_with_the_database_gone_nothing_is_sent(deliverer: Deliverer, server: HostileServer) -> None:
    webhook = deliverer.webhook(server.url("/status/200"))
    connections = server.connections
    with pytest.raises(TemporaryError, match="the database cannot be reached"):
        deliverer.deliver(webhook, database_url="postgresql+psycopg2://nobody@127.0.0.1:1/none")
    assert server.connections == connections
