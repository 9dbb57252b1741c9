"""webhook_delivery: sends a payload to a registered webhook, signed as Standard Webhooks says.

The worker's registry finds it here. The receiver may answer anything, or nothing: every attempt is bounded, recorded
in the delivery log and judged by its status code. 2xx is success; 410 disables the webhook; other 3xx and 4xx are
final; 408, 425, 429, 5xx, and no answer at all are tried again, after Retry-After where the receiver names one.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from services.worker.task import PermanentError, TaskContext, TemporaryError, task
from services.worker.tasks.webhook_delivery_rules import (
    Delivery,
    Outcome,
    Subject,
    delivery_of,
    judged,
    retry_after,
    signed_headers,
    wants,
)
from shared import clock
from shared.events.task_types import WebhookDeliveryParameters
from shared.net.addresses import AddressRefused, AddressRules, NameUnknown
from shared.net.pinned_http import Answer, RequestFailed, RequestRefused, request
from shared.secrets import SecretBox, SecretUnreadable
from shared.storage import deliveries
from shared.storage.database import Connection, DatabaseUnavailable
from shared.storage.deliveries import Begun, Endpoint, Finished
from shared.telemetry.logging import get_logger
from shared.telemetry.metrics import DELIVERIES, FAULTS
from shared.webhook_secrets import open_secrets

log = get_logger(__name__)
T = TypeVar("T")

_BODY_LIMIT = 4_096
"""Bytes of the answer's body that the delivery log keeps."""
_TIME_TO_RECORD = 0.9
"""Share of the run's time limit that the request may take: what became of it must still be written down."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """How an attempt went; `wait` is what the receiver asked for."""

    finished: Finished
    wait: timedelta | None = None


@task("webhook_delivery", WebhookDeliveryParameters, concurrency=100)
async def webhook_delivery(context: TaskContext, parameters: WebhookDeliveryParameters) -> dict[str, Any]:
    """Deliver a payload to a registered webhook."""
    endpoint = await _in_database(context, lambda connection: _endpoint(connection, context, parameters.webhook_id))
    result: dict[str, Any] = {"webhook_id": endpoint.id, "event": parameters.event}
    if not wants(endpoint.events, parameters.event):
        return result | {"delivered": False, "filtered": f"the webhook does not subscribe to {parameters.event}"}
    secrets = _secrets(context, endpoint)
    delivery = delivery_of(_subject(context, parameters))
    begun = _begun(context, endpoint, delivery, parameters.event)
    delivery_id = await _in_database(context, lambda connection: deliveries.begin(connection, begun))
    sent = await _send(context, endpoint, delivery, secrets)
    DELIVERIES.labels(sent.finished.outcome).inc()
    await _note(context, delivery_id, endpoint, sent.finished)
    result |= {
        "message_id": delivery.message_id,
        "delivery_id": delivery_id,
        "delivered": sent.finished.outcome == Outcome.DELIVERED,
        "outcome": str(sent.finished.outcome),
        "status_code": sent.finished.status_code,
        "duration_seconds": sent.finished.duration_seconds,
    }
    if sent.finished.outcome == Outcome.DELIVERED:
        return result
    sentence = f"webhook {endpoint.id}: {sent.finished.error}"
    if sent.finished.outcome == Outcome.FAILED:
        raise TemporaryError(sentence, retry_after=sent.wait, result=result)
    raise PermanentError(sentence, result=result)


def _endpoint(connection: Connection, context: TaskContext, webhook_id: int) -> Endpoint:
    endpoint = deliveries.endpoint(connection, webhook_id, context.project_id)
    if endpoint is None:
        raise PermanentError(f"project {context.project_id} has no webhook {webhook_id}")
    if not endpoint.enabled:
        raise PermanentError(f"webhook {webhook_id} is disabled" + _because(endpoint.disabled_reason))
    return endpoint


def _because(reason: str | None) -> str:
    return f": {reason}" if reason else ""


def _secrets(context: TaskContext, endpoint: Endpoint) -> list[str]:
    if endpoint.secrets_encrypted is None:
        raise PermanentError(f"webhook {endpoint.id} has no secret to sign with: give it one")
    try:
        box = SecretBox.open(context.settings.secrets_key, context.settings.home)
        return open_secrets(box, endpoint.project_id, endpoint.secrets_encrypted)
    except (SecretUnreadable, ValueError) as error:
        raise PermanentError(f"webhook {endpoint.id}: {error}") from error


def _subject(context: TaskContext, parameters: WebhookDeliveryParameters) -> Subject:
    return Subject(
        event=parameters.event,
        webhook_id=parameters.webhook_id,
        job_id=context.job_id,
        schedule_id=context.schedule_id,
        schedule_name=context.schedule_name,
        project_id=context.project_id,
        scheduled_for=context.scheduled_for,
        trigger=context.trigger,
        payload=parameters.payload,
    )


def _begun(context: TaskContext, endpoint: Endpoint, delivery: Delivery, event: str) -> Begun:
    return Begun(
        webhook_id=endpoint.id,
        project_id=endpoint.project_id,
        schedule_id=context.schedule_id,
        job_id=context.job_id,
        attempt=context.attempt,
        message_id=delivery.message_id,
        event=event,
        url=endpoint.url,
        sent_at=clock.now(),
    )


async def _send(context: TaskContext, endpoint: Endpoint, delivery: Delivery, secrets: list[str]) -> _Sent:
    started, now = clock.monotonic(), clock.now()
    try:
        answer = await request(
            "POST",
            endpoint.url,
            AddressRules.of(context.settings),
            headers=signed_headers(delivery, secrets, now),
            body=delivery.body,
            timeout_seconds=min(context.settings.webhook_timeout_seconds, context.timeout_seconds * _TIME_TO_RECORD),
            body_limit=_BODY_LIMIT,
        )
    except (AddressRefused, RequestRefused) as error:
        return _Sent(Finished(Outcome.REFUSED, _since(started), error=str(error)))
    except (RequestFailed, NameUnknown) as error:
        return _Sent(Finished(Outcome.FAILED, _since(started), error=str(error)))
    outcome = judged(answer.status)
    finished = Finished(
        outcome,
        _since(started),
        status_code=answer.status,
        address=answer.address,
        response_body=answer.body.decode(errors="replace"),
        response_cut=not answer.complete,
        error=_complaint(outcome, answer),
    )
    return _Sent(finished, retry_after(answer.headers, now) if outcome == Outcome.FAILED else None)


def _complaint(outcome: Outcome, answer: Answer) -> str | None:
    if outcome == Outcome.DELIVERED:
        return None
    sentence = f"the receiver answered {answer.status}"
    if outcome == Outcome.GONE:
        return f"{sentence} Gone: no more deliveries are wanted"
    return f"{sentence}, and redirects are not followed" if answer.status // 100 == 3 else sentence


async def _note(context: TaskContext, delivery_id: int, endpoint: Endpoint, finished: Finished) -> None:
    """Write down what became of it. The delivery is made, so a failing database must not have it made again."""
    now = clock.now()

    def write(connection: Connection) -> bool:
        deliveries.finish(connection, delivery_id, finished)
        gone = finished.outcome == Outcome.GONE
        return gone and deliveries.disable(connection, endpoint.id, endpoint.url, finished.error or "", now)

    try:
        disabled = await _in_database(context, write)
    except TemporaryError as error:
        FAULTS.labels("worker", "delivery_not_noted").inc()
        log.warning(
            f"What became of delivery {delivery_id} is not in the delivery log",
            action="webhook.not_noted",
            schedule_id=context.schedule_id,
            job_id=context.job_id,
            outcome=str(finished.outcome),
            error=str(error),
        )
        return
    if disabled:
        log.warning(
            f"Disabled webhook {endpoint.id}: it answered 410 Gone",
            action="webhook.disabled",
            schedule_id=context.schedule_id,
            job_id=context.job_id,
            webhook_id=endpoint.id,
        )


async def _in_database(context: TaskContext, work: Callable[[Connection], T]) -> T:
    """One transaction, off the event loop. Raises TemporaryError where PostgreSQL is at fault."""

    def transact() -> T:
        with context.database.transaction() as connection:
            return work(connection)

    try:
        return await asyncio.to_thread(transact)
    except DatabaseUnavailable as error:
        raise TemporaryError(f"the database cannot be reached: {error}") from error


def _since(started: float) -> float:
    return round(clock.monotonic() - started, 6)
