"""The run.due messages of a batch: as the relay publishes them, and as the text its outbox row holds.

Both come from the same strings, made once. The body is shared/events/due.py's; this module knows only how many at a
time are made cheaply. An outbox row is either the JSON array that shared/storage/outbox.py describes, or, for a batch
of the tick, lines: a JSON object with the headers all messages share, then a message a line, its parts between tabs
(task type, job id, schedule id, traceparent, body). JSON text holds neither tabs nor line ends, so nothing is quoted
twice; that halves what a dispatch writes to the log.
"""

import base64
import os
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson

from services.dispatcher.planning import Due
from shared.events.due import RunPolicy, due_value, instant, policy_text, static_headers
from shared.events.envelope import Message
from shared.kafka.publisher import Outgoing
from shared.storage.outbox import verbatim

MOST_BYTES = 4_000_000
"""Roughly the largest outbox row; a batch with larger parameters becomes several rows."""


class Stored(NamedTuple):
    """Messages that share an outbox row: for Kafka, and as the row's text."""

    messages: list[Outgoing]
    text: str
    due_at: Sequence[datetime] = ()
    """When some of them were due, spread over the row: a sample for the delay's metric."""


def encode_due(due: Iterable[Due], now: datetime, sampled_below: int) -> list[Stored]:
    """The rows for a batch of due jobs. `sampled_below`: traces with a lower 64-bit id are marked as sampled."""
    at = instant(now)
    static: list[tuple[str, str | bytes | None]] = list(static_headers(at).items())
    first_line = orjson.dumps({"headers": dict(static)}).decode()
    policies: dict[tuple[object, ...], str] = {}
    instants: dict[datetime, str] = {}
    jobs = list(due)
    random = os.urandom(24 * len(jobs)).hex()
    rows: list[Stored] = []
    messages: list[Outgoing] = []
    texts: list[str] = []
    size, all_sampled = 0, sampled_below >= 1 << 64
    for number, (job, definition, dispatch_at) in enumerate(jobs):
        policy = policies.get(definition[20:])
        if policy is None:
            policy = policies[definition[20:]] = f'"dispatched_at":"{at}",{policy_text(_policy(definition))}'
        scheduled_for = instants.get(job.scheduled_for)
        if scheduled_for is None:
            scheduled_for = instants[job.scheduled_for] = instant(job.scheduled_for)
        start_by = None
        if definition.start_deadline_seconds is not None:
            start_by = instant(dispatch_at + timedelta(seconds=definition.start_deadline_seconds))
        value = due_value(
            job.job_id,
            1,
            job.schedule_id,
            job.project_id,
            job.task_type,
            scheduled_for,
            job.version,
            definition.name,
            job.trigger,
            definition.task_parameters,
            definition.tags,
            policy,
            start_by,
        )
        trace_id = random[48 * number : 48 * number + 32]
        flag = "01" if all_sampled or int(trace_id[16:], 16) < sampled_below else "00"
        traceparent = f"00-{trace_id}-{random[48 * number + 32 : 48 * number + 48]}-{flag}"
        key, job_id = str(job.schedule_id), str(job.job_id)
        messages.append(_outgoing(static, job.task_type, job_id, key, traceparent, value))
        texts.append(f"{job.task_type}\t{job_id}\t{key}\t{traceparent}\t{value}")
        size += len(value)
        if size >= MOST_BYTES:
            rows.append(Stored(messages, "\n".join([first_line, *texts])))
            messages, texts, size = [], [], 0
    if messages:
        rows.append(Stored(messages, "\n".join([first_line, *texts]), _sample(jobs)))
    return rows


def _sample(jobs: list[Due]) -> list[datetime]:
    """Up to ten of the instants at which jobs were due."""
    return [one.dispatch_at for one in jobs[:: max(1, len(jobs) // 10)]]


def _outgoing(
    static: list[tuple[str, str | bytes | None]], task_type: str, job_id: str, key: str, traceparent: str, value: str
) -> Outgoing:
    """A first attempt's message."""
    headers = [
        *static,
        ("ce_id", f"run-due-{job_id}-1"),
        ("ce_scheduleid", key),
        ("ce_jobid", job_id),
        ("traceparent", traceparent),
    ]
    return Outgoing(f"runs.due.{task_type}", key, headers, value)


def encode(messages: Sequence[Message]) -> Stored:
    """The row for a few messages of any kind."""
    outgoing = [Outgoing(m.topic, m.key, list(m.headers.items()), m.value) for m in messages]
    return Stored(outgoing, row_text(outgoing))


def row_text(messages: Sequence[Outgoing]) -> str:
    """The text of an outbox row (shared/storage/outbox.py)."""
    return orjson.dumps([_document(message) for message in messages]).decode()


def _document(message: Outgoing) -> dict[str, object]:
    topic, key, headers, value = message
    if isinstance(key, str) and not isinstance(value, bytes):
        return {"topic": topic, "key": key, "headers": dict(headers), "value": value}
    return verbatim(topic, _bytes(key), [(name, _bytes(raw)) for name, raw in headers], _bytes(value))


def _bytes(raw: str | bytes | None) -> bytes | None:
    return raw.encode() if isinstance(raw, str) else raw


def decode_row(text: str) -> list[Outgoing]:
    """The messages of an outbox row, in either form. Raises ValueError, KeyError or TypeError for what is none."""
    if text.startswith("{"):
        first_line, *lines = text.split("\n")
        static = list(orjson.loads(first_line)["headers"].items())
        return [_outgoing(static, *line.split("\t")) for line in lines]
    return [_checked(_read(one)) for one in orjson.loads(text)]


def _read(one: dict[str, Any]) -> Outgoing:
    if "bytes" not in one:
        return Outgoing(one["topic"], one["key"], list(one["headers"].items()), one["value"])
    raw = one["bytes"]
    headers: list[tuple[str, str | bytes | None]] = [(name, _unbase64(value)) for name, value in raw["headers"]]
    return Outgoing(one["topic"], _unbase64(raw["key"]), headers, _unbase64(raw["value"]))


def _unbase64(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)


def _checked(message: Outgoing) -> Outgoing:
    """Raises TypeError for parts that no message has: the producer would, in the middle of everybody's rows."""
    topic: object = message.topic
    parts: list[object] = [message.key, message.value, *(value for _, value in message.headers)]
    if not isinstance(topic, str) or not all(isinstance(one, str | bytes | None) for one in parts):
        raise TypeError("a topic is text; key, headers and value are text, bytes or null")
    return message


def _policy(definition: "tuple[object, ...]") -> RunPolicy:
    deadline, _queue, most, first, cap, timeout = definition[20:]
    return RunPolicy(most, first, cap, timeout, deadline)  # type: ignore[arg-type]
