"""A delivery's whole way: run.due over Kafka, a real worker process, a receiver, the result over Kafka."""

from __future__ import annotations

from shared.events.types import RunFailed, RunSucceeded
from shared.storage.database import Database
from tests.hostile_server import HostileServer
from tests.integration.worker.bench_of_runs import Runs
from tests.integration.worker.webhook.endpoints import store_webhook


def test_a_worker_delivers_and_comes_back_when_the_receiver_says(runs: Runs) -> None:
    database = Database(runs.database_url, application="test")
    with HostileServer() as server:
        fine = store_webhook(database, runs.home, server.url("/status/204"))
        busy = store_webhook(database, runs.home, server.url("/status/503?Retry-After:900"))
        runs.worker()
        delivered = runs.due("webhook_delivery", {"webhook_id": fine, "payload": {"n": 1}})
        late = runs.due("webhook_delivery", {"webhook_id": busy}, max_attempts=2, first_seconds=1.0)
        missing = runs.due("webhook_delivery", {"webhook_id": 999}, max_attempts=2)

        ended = runs.ended(delivered)
        assert isinstance(ended, RunSucceeded), ended
        assert (ended.result["delivered"], ended.result["status_code"]) == (True, 204)
        assert [one.headers["webhook-id"] for one in server.received if one.target == "/status/204"] == [
            ended.result["message_id"]
        ]

        failed = runs.ended(late)
        assert isinstance(failed, RunFailed)
        assert failed.will_retry
        assert failed.next_attempt_at is not None
        assert 890 < (failed.next_attempt_at - failed.finished_at).total_seconds() <= 901
        assert failed.error == f"webhook {busy}: the receiver answered 503"

        given_up = runs.ended(missing)
        assert isinstance(given_up, RunFailed)
        assert (given_up.will_retry, given_up.error) == (False, "project 1 has no webhook 999")
    outcomes = runs.query("SELECT job_id, outcome FROM webhook_deliveries ORDER BY id")
    assert sorted(outcomes) == [(delivered, "delivered"), (late, "failed")]
    database.close()
