"""A delivery's bytes, identity and signatures, and what an answer means, against the library's own verifier."""

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from services.worker.tasks.webhook_delivery_rules import (
    Outcome,
    Subject,
    delivery_of,
    judged,
    retry_after,
    signed_headers,
    wants,
)
from shared.secrets import SecretBox, SecretUnreadable
from shared.webhook_secrets import MOST, check_secret, new_secret, open_secrets, rotated, seal_secrets

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=10,
)
PAYLOADS = st.dictionaries(st.text(st.characters(codec="utf-8")), JSON, max_size=4)


def subject(**changes) -> Subject:
    values: dict[str, Any] = {
        "event": "schedule.fired",
        "webhook_id": 15,
        "job_id": 99,
        "schedule_id": 7,
        "schedule_name": "Campaign",
        "project_id": 1,
        "scheduled_for": AT,
        "trigger": "schedule",
        "payload": {"a": 1},
    }
    return Subject(**(values | changes))


@given(PAYLOADS, st.integers(1, MOST))
def test_every_secret_of_a_rotation_verifies_the_exact_bytes(payload, count):
    secrets = [new_secret() for _ in range(count)]
    delivery = delivery_of(subject(payload=payload))
    headers = signed_headers(delivery, secrets, datetime.now(UTC))
    for secret in secrets:
        assert Webhook(secret).verify(delivery.body, headers)["data"]["payload"] == payload
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(delivery.body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secrets[0]).verify(delivery.body + b" ", headers)
    assert len(headers["webhook-signature"].split(" ")) == count


def test_the_body_says_what_when_and_for_whom():
    body = orjson.loads(delivery_of(subject(scheduled_for=AT.astimezone(timezone(timedelta(hours=2))))).body)
    assert body == {
        "type": "schedule.fired",
        "timestamp": "2026-03-01T12:00:00Z",
        "data": {
            "schedule": {"id": 7, "name": "Campaign", "project_id": 1},
            "job": {"id": 99, "scheduled_for": "2026-03-01T12:00:00Z", "trigger": "schedule"},
            "payload": {"a": 1},
        },
    }


def test_the_identity_is_the_jobs_and_the_messages():
    assert delivery_of(subject()) == delivery_of(subject())
    changed: tuple[dict[str, Any], ...] = ({"job_id": 100}, {"webhook_id": 16}, {"payload": {}}, {"event": "other"})
    assert len({delivery_of(subject(**change)).message_id for change in ({}, *changed)}) == 1 + len(changed)


@pytest.mark.parametrize(
    ("statuses", "outcome"),
    [
        ((200, 201, 202, 204, 299), Outcome.DELIVERED),
        ((301, 302, 307, 308, 304, 400, 401, 403, 404, 422, 499), Outcome.REJECTED),
        ((408, 425, 429, 500, 502, 503, 504, 599), Outcome.FAILED),
        ((410,), Outcome.GONE),
    ],
)
def test_what_a_status_code_means(statuses, outcome):
    assert {judged(status) for status in statuses} == {outcome}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120), ("0", 0), (" 7 ", 7), (format_datetime(AT + timedelta(minutes=5), usegmt=True), 300),
        (format_datetime(AT - timedelta(minutes=5), usegmt=True), 0), ("Sun, 01 Mar 2026 12:00:30", 30),
        ("", None), ("soon", None), ("-5", None), ("1.5", None), ("²", None), ("9" * 400, 86_400 * 366),
    ],
)  # fmt: skip
def test_retry_after_in_seconds_or_as_a_date(text, seconds):
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert retry_after({"retry-after": text}, AT) == expected
    assert retry_after({}, AT) is None


@given(st.text())
def test_no_retry_after_breaks_anything(text):
    wait = retry_after({"retry-after": text}, AT)
    assert wait is None or wait >= timedelta()


def test_which_events_an_endpoint_wants():
    assert wants((), "anything")
    assert wants(("a.b", "c"), "c")
    assert not wants(("a.b",), "c")
    assert wants(("report.*",), "report.ready")
    assert wants(("*",), "anything")
    assert not wants(("report.*",), "reports.ready")


def test_sealed_secrets_open_with_their_key_for_their_project_only():
    box, secrets = SecretBox(b"k" * 32), [new_secret(), new_secret()]
    sealed = seal_secrets(box, 1, secrets)
    assert open_secrets(box, 1, sealed) == secrets
    assert all(secret.encode() not in sealed for secret in secrets)
    for other_box, project in ((box, 2), (SecretBox(b"x" * 32), 1)):
        with pytest.raises(SecretUnreadable):
            open_secrets(other_box, project, sealed)


def test_rotation_keeps_the_newest_two():
    first, second, third = new_secret(), new_secret(), new_secret()
    assert rotated([first], second) == [second, first]
    assert rotated([second, first], third) == [third, second]
    assert rotated([second, first], second) == [second, first]


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!!!!", "c2VjcmV0", "whsec_c2hvcnQ=", "whsec_" + "A" * 400])
def test_what_is_no_secret(secret):
    with pytest.raises(ValueError, match="a webhook secret is whsec_") as refused:
        check_secret(secret)
    assert len(secret) < 8 or secret not in str(refused.value)


def test_a_new_secret_is_one():
    check_secret(new_secret())
