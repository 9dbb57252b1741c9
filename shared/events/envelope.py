"""CloudEvents 1.0 in Kafka's binary mode: attributes as `ce_…` headers, the data as the message's value.

Producers call `encode`, consumers `decode`; nobody else knows the header names. The specification: CloudEvents 1.0.2
and its Kafka protocol binding. Extension attributes are lower-case alphanumeric (`scheduleid`, `jobid`). The W3C trace
context travels in the plain `traceparent` header, where OpenTelemetry's Kafka convention looks for it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
from pydantic import ValidationError

from shared.events.types import EVENT_TYPES, EventData

CONTENT_TYPE = "application/json"
SPEC_VERSION = "1.0"


class UnreadableEvent(Exception):
    """A message that is not one of our events, with the reason. Permanent: reading it again will not help."""


_READ = frozenset({"ce_id", "ce_source", "ce_type", "ce_time", "ce_scheduleid", "ce_jobid", "traceparent"})


@dataclass(slots=True)
class Event:
    """One event: the envelope's attributes and its data. Not frozen: that would double its cost."""

    id: str
    source: str
    time: datetime
    data: EventData
    schedule_id: int | None = None
    job_id: int | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """What goes to Kafka. `topic` is without prefix; a value of None is a tombstone."""

    topic: str
    key: str
    headers: dict[str, str]
    value: str | None


def headers_of(
    event_type: str,
    event_id: str,
    source: str,
    time: str,
    schedule_id: int | None,
    job_id: int | None,
    traceparent: str | None,
) -> dict[str, str]:
    """The headers of an event; `time` is RFC 3339. Apart from `encode` for those who build many at once."""
    headers = {
        "ce_specversion": SPEC_VERSION,
        "ce_id": event_id,
        "ce_source": source,
        "ce_type": event_type,
        "ce_time": time,
        "content-type": CONTENT_TYPE,
    }
    if schedule_id is not None:
        headers["ce_scheduleid"] = str(schedule_id)
    if job_id is not None:
        headers["ce_jobid"] = str(job_id)
    if traceparent is not None:
        headers["traceparent"] = traceparent
    return headers


def encode(topic: str, event: Event) -> Message:
    """The Kafka message of an event; its key is the schedule id, which keeps a schedule's events in order."""
    headers = headers_of(
        event.data.TYPE,
        event.id,
        event.source,
        event.time.isoformat().replace("+00:00", "Z"),
        event.schedule_id,
        event.job_id,
        event.traceparent,
    )
    key = "" if event.schedule_id is None else str(event.schedule_id)
    return Message(topic, key, headers, event.data.model_dump_json())


def tombstone(topic: str, schedule_id: int) -> Message:
    """The empty message that lets compaction forget a deleted schedule."""
    return Message(topic, str(schedule_id), {}, None)


def decode(headers: Iterable[tuple[str, bytes | None]], value: bytes | None) -> Event:
    """Read an event. Raises UnreadableEvent with the reason; unknown headers and fields are ignored."""
    # Foreign headers may hold any bytes; only those that are read are decoded.
    known = [(name, raw) for name, raw in headers if raw is not None and name in _READ]
    try:
        attributes = {name: raw.decode() for name, raw in known}
    except UnicodeDecodeError as error:
        names = ", ".join(name for name, raw in known if raw is error.object)
        raise UnreadableEvent(f"header {names} is not UTF-8") from error
    try:
        model = EVENT_TYPES[attributes["ce_type"]]
        event_id, source, time = attributes["ce_id"], attributes["ce_source"], attributes["ce_time"]
    except KeyError as error:
        if "ce_type" in attributes and error.args[0] == attributes["ce_type"]:
            raise UnreadableEvent(f"event type {attributes['ce_type']!r} is unknown") from error
        raise UnreadableEvent(f"header {error.args[0]} is missing") from error
    if value is None:
        raise UnreadableEvent("the message has no value")
    try:
        data = model.model_validate(orjson.loads(value))
        return Event(
            event_id,
            source,
            _instant(time),
            data,
            _number(attributes, "ce_scheduleid"),
            _number(attributes, "ce_jobid"),
            attributes.get("traceparent"),
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise UnreadableEvent(f"field {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (ValueError, OverflowError) as error:  # not JSON, no instant, no number
        raise UnreadableEvent(str(error)) from error


def _instant(text: str) -> datetime:
    """In UTC; one that names no zone is read as UTC."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is UTC:
        return instant
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _number(attributes: dict[str, str], name: str) -> int | None:
    return int(attributes[name]) if name in attributes else None


def due_id(job_id: int, attempt: int) -> str:
    """The id of an attempt's run.due event: fixed, so that a repeated publication is the same event."""
    return f"run-due-{job_id}-{attempt}"


def started_id(job_id: int, attempt: int) -> str:
    """The id of an attempt's run.started event."""
    return f"run-started-{job_id}-{attempt}"


def ended_id(job_id: int, attempt: int, outcome: str, by: str) -> str:
    """The id of an attempt's end. `by` names who decided it, so that two deciders' ends are never taken for repeats."""
    return f"run-{outcome}-{job_id}-{attempt}-{by}"
