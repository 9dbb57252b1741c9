"""The rules of a delivery, without any I/O: its body, its signed headers, and what an answer's status code means.

Used by webhook_delivery. Headers and signature: the Standard Webhooks specification (standardwebhooks.com).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

import orjson
from standardwebhooks import Webhook

_TRY_AGAIN = frozenset({408, 425, 429})
_GONE = 410


class Outcome(StrEnum):
    """What became of one attempt to deliver; the delivery log's column."""

    SENDING = "sending"
    """Begun, and nothing known since: the worker was lost or the run was stopped."""
    DELIVERED = "delivered"
    FAILED = "failed"
    """Temporary: no answer, or one that asks to come back later."""
    REJECTED = "rejected"
    """Permanent: the receiver does not want this."""
    GONE = "gone"
    """410: the receiver wants no more deliveries at all."""
    REFUSED = "refused"
    """Not sent: the address rules forbid where it would go."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a delivery speaks of. The same for every attempt of a job, so that its bytes and its id stay the same."""

    event: str
    webhook_id: int
    job_id: int
    schedule_id: int
    schedule_name: str
    project_id: int
    scheduled_for: datetime
    trigger: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Delivery:
    """The exact bytes to send and their identity."""

    message_id: str
    body: bytes


def delivery_of(subject: Subject) -> Delivery:
    """The message of a job.

    Its id is made of the job and of what is sent: a retry has the same id, and two deliveries inside one batch job
    have different ones. Receivers drop repeats by it.
    """
    moment = subject.scheduled_for.astimezone(UTC).isoformat().replace("+00:00", "Z")
    body = orjson.dumps(
        {
            "type": subject.event,
            "timestamp": moment,
            "data": {
                "schedule": {
                    "id": subject.schedule_id,
                    "name": subject.schedule_name,
                    "project_id": subject.project_id,
                },
                "job": {"id": subject.job_id, "scheduled_for": moment, "trigger": subject.trigger},
                "payload": dict(subject.payload),
            },
        }
    )
    digest = hashlib.blake2b(str(subject.webhook_id).encode() + b"/" + body, digest_size=8).hexdigest()
    return Delivery(f"msg_{subject.job_id}_{digest}", body)


def signed_headers(delivery: Delivery, secrets: Sequence[str], now: datetime) -> dict[str, str]:
    """The request's headers: one signature for each secret. `now` is aware and in UTC: the library takes it so."""
    text = delivery.body.decode()
    signatures = [Webhook(secret).sign(delivery.message_id, now, text) for secret in secrets]
    return {
        "Content-Type": "application/json",
        "webhook-id": delivery.message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def judged(status: int) -> Outcome:
    """What a status code means. Redirects are not followed: where they lead, nobody has judged."""
    if 200 <= status < 300:
        return Outcome.DELIVERED
    if status == _GONE:
        return Outcome.GONE
    if status >= 500 or status in _TRY_AGAIN:
        return Outcome.FAILED
    return Outcome.REJECTED


def wants(events: Sequence[str], event: str) -> bool:
    """Whether an endpoint subscribed to this event: by its name, or by a pattern with `*`; none named: all."""
    return not events or any(fnmatchcase(event, pattern) for pattern in events)


def retry_after(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """How long the receiver asks to wait (RFC 9110 section 10.2.3: seconds or a date); None: it says nothing clear."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:9]), 86_400 * 366))
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(timedelta(), moment - now)
