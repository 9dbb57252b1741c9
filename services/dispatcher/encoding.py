"""The run.due messages of a batch: as the relay publishes them, and as the text its outbox row holds.

Both come from the same strings, made once. The body is shared/events/due.py's; this module knows only how many at a
time are made cheaply.
"""

import os
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from json.encoder import encode_basestring_ascii as quoted
from typing import NamedTuple

import orjson

from services.dispatcher.planning import Due
from shared.events.due import RunPolicy, due_value, instant, policy_text, static_headers
from shared.events.envelope import Message
from shared.kafka.publisher import Outgoing

MOST_BYTES = 4_000_000
"""Roughly the largest outbox row; a batch with larger parameters becomes several rows."""


class Stored(NamedTuple):
    """Messages that share an outbox row: for Kafka, and as the row's text."""

    messages: list[Outgoing]
    text: str


def encode_due(due: Iterable[Due], now: datetime, sampled_below: int) -> list[Stored]:
    """The rows for a batch of due jobs. `sampled_below`: traces with a lower 64-bit id are marked as sampled."""
    at = instant(now)
    static = [(name, value) for name, value in static_headers(at).items()]
    static_text = ",".join(f"{quoted(name)}:{quoted(value)}" for name, value in static)
    policies: dict[tuple[object, ...], str] = {}
    instants: dict[datetime, str] = {}
    jobs = list(due)
    random = os.urandom(24 * len(jobs)).hex()
    rows: list[Stored] = []
    messages: list[Outgoing] = []
    texts: list[str] = []
    size = 0
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
        flag = "01" if int(trace_id[16:], 16) < sampled_below else "00"
        traceparent = f"00-{trace_id}-{random[48 * number + 32 : 48 * number + 48]}-{flag}"
        event_id, key, job_id = f"run-due-{job.job_id}-1", str(job.schedule_id), str(job.job_id)
        topic = f"runs.due.{job.task_type}"
        messages.append(
            Outgoing(
                topic,
                key,
                [
                    *static,
                    ("ce_id", event_id),
                    ("ce_scheduleid", key),
                    ("ce_jobid", job_id),
                    ("traceparent", traceparent),
                ],
                value,
            )
        )
        text = (
            f'{{"topic":{quoted(topic)},"key":"{key}","headers":{{{static_text},"ce_id":"{event_id}",'
            f'"ce_scheduleid":"{key}","ce_jobid":"{job_id}","traceparent":"{traceparent}"}},"value":{quoted(value)}}}'
        )
        texts.append(text)
        size += len(text)
        if size >= MOST_BYTES:
            rows.append(Stored(messages, "[" + ",".join(texts) + "]"))
            messages, texts, size = [], [], 0
    if messages:
        rows.append(Stored(messages, "[" + ",".join(texts) + "]"))
    return rows


def encode(messages: Sequence[Message]) -> Stored:
    """The row for a few messages of any kind."""
    outgoing = [Outgoing(m.topic, m.key, list(m.headers.items()), m.value) for m in messages]
    return Stored(outgoing, row_text(outgoing))


def row_text(messages: Sequence[Outgoing]) -> str:
    """The text of an outbox row (shared/storage/outbox.py)."""
    documents = [{"topic": m.topic, "key": m.key, "headers": dict(m.headers), "value": m.value} for m in messages]
    return orjson.dumps(documents).decode()


def decode_row(text: str) -> list[Outgoing]:
    """The messages of an outbox row. Raises ValueError, KeyError or TypeError for what is none."""
    return [
        Outgoing(one["topic"], one["key"], list(one["headers"].items()), one["value"]) for one in orjson.loads(text)
    ]


def _policy(definition: "tuple[object, ...]") -> RunPolicy:
    deadline, _queue, most, first, cap, timeout = definition[20:]
    return RunPolicy(most, first, cap, timeout, deadline)  # type: ignore[arg-type]
