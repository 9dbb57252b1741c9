"""The api's events: stored in the outbox by the transaction that makes the change."""

from collections.abc import Sequence
from datetime import datetime

from services.api.models.schedules import definition_document
from shared.domain.schedule import Definition
from shared.events.envelope import Event, Message, encode, tombstone
from shared.events.topics import SCHEDULES
from shared.events.types import Actor, EventData, ScheduleChange
from shared.storage import outbox
from shared.storage.database import Connection
from shared.telemetry.tracing import current_traceparent

SOURCE = "/commandcenter/api"


def change(
    kind: type[ScheduleChange],
    schedule_id: int,
    version: int,
    actor: Actor,
    *,
    before: Definition | None,
    after: Definition | None,
    created_at: datetime,
    now: datetime,
) -> list[Message]:
    """The messages of a change: its event, and after a deletion the tombstone."""
    project_id = (after or before or _nothing()).project_id
    data = kind(
        schedule_id=schedule_id,
        project_id=project_id,
        version=version,
        actor=actor,
        before=None if before is None else definition_document(before, created_at),
        after=None if after is None else definition_document(after, created_at),
    )
    event = Event(
        id=f"schedule-{schedule_id}-{version}",
        source=SOURCE,
        time=now,
        data=data,
        schedule_id=schedule_id,
        traceparent=current_traceparent(),
    )
    messages = [encode(SCHEDULES.name, event)]
    if after is None:
        messages.append(tombstone(SCHEDULES.name, schedule_id))
    return messages


def of_run(topic: str, event_id: str, data: EventData, job_id: int, schedule_id: int, now: datetime) -> Message:
    """The message of an event about a job."""
    event = Event(
        id=event_id,
        source=SOURCE,
        time=now,
        data=data,
        schedule_id=schedule_id,
        job_id=job_id,
        traceparent=current_traceparent(),
    )
    return encode(topic, event)


def publish(connection: Connection, messages: Sequence[Message]) -> None:
    """Put messages into the outbox and wake the relay. Once a transaction."""
    outbox.add(connection, messages)
    outbox.notify(connection, outbox.OUTBOX_CHANNEL)


def _nothing() -> Definition:
    raise ValueError("a change has a before or an after")
