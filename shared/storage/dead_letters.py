"""The dead letters (tables dead_letters, written by health, and dead_letter_resends, written by the api).

A letter keeps the original bytes: whoever sends it again sends those.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, Row, text

from shared.storage.filters import MOST_COUNTED

Headers = list[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Letter:
    """A message of runs.dead: its place there, what its added headers say, and the original message."""

    kafka_partition: int
    kafka_offset: int
    put_aside_at: datetime
    reason: str
    consumer: str
    topic: str | None
    truncated: bool
    key: bytes | None
    headers: Headers
    value: bytes | None
    event_type: str | None = None
    schedule_id: int | None = None
    job_id: int | None = None
    project_id: int | None = None


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which letters; None means any. With `project_ids`, letters that belong to no project are out of sight."""

    project_ids: Sequence[int] | None = None
    topic: str | None = None
    schedule_id: int | None = None
    job_id: int | None = None


_PLAIN = ("kafka_partition", "kafka_offset", "put_aside_at", "truncated", "key", "value")
_TEXTS = ("reason", "consumer", "topic", "event_type")
# What an unreadable message does not say about its project, its job or its schedule does.
_ADD = text("""
INSERT INTO dead_letters (kafka_partition, kafka_offset, put_aside_at, reason, consumer, topic, truncated, key, headers,
                          value, event_type, schedule_id, job_id, project_id)
SELECT :kafka_partition, :kafka_offset, :put_aside_at, :reason, :consumer, :topic, :truncated, :key, :headers, :value,
    :event_type, coalesce(CAST(:schedule_id AS bigint), j.schedule_id), CAST(:job_id AS bigint),
    coalesce(CAST(:project_id AS bigint), j.project_id,
             (SELECT project_id FROM schedules WHERE id = CAST(:schedule_id AS bigint)))
FROM (VALUES (1)) AS one LEFT JOIN LATERAL (
    SELECT schedule_id, project_id FROM jobs WHERE id = CAST(:job_id AS bigint) LIMIT 1
) AS j ON true
ON CONFLICT DO NOTHING
""")

_LISTED = """l.id, l.kafka_partition, l.kafka_offset, l.put_aside_at, l.reason, l.consumer, l.topic, l.event_type,
    l.schedule_id, l.job_id, l.project_id, coalesce(octet_length(l.value), 0) AS size, l.truncated,
    r.resent_at, r.resent_by, r.job_id AS resent_job_id"""
_JOIN = """LEFT JOIN LATERAL (SELECT resent_at, resent_by, job_id FROM dead_letter_resends
    WHERE letter_id = l.id ORDER BY id DESC LIMIT 1) AS r ON true"""
_GET = text(f"SELECT {_LISTED}, l.key, l.headers, l.value FROM dead_letters l {_JOIN} WHERE l.id = :id")  # noqa: S608
_LOCK = text("SELECT FROM dead_letters WHERE id = :id FOR UPDATE")
_NOTE = text(
    "INSERT INTO dead_letter_resends (letter_id, resent_at, resent_by, job_id)"
    " VALUES (:letter_id, clock_timestamp(), :by, :job_id)"
)


def add(connection: Connection, letters: Sequence[Letter]) -> None:
    """Keep letters; one that is kept already stays as it is."""
    for letter in letters:
        values = {name: getattr(letter, name) for name in Letter.__slots__}
        values |= {name: _storable(values[name]) for name in _TEXTS}
        values["headers"] = orjson.dumps([[name, _base64(raw)] for name, raw in letter.headers]).decode()
        connection.execute(_ADD, values)


def list_page(
    connection: Connection, wanted: LetterFilter, page: int, page_size: int
) -> tuple[Sequence[Row[Any]], int]:
    """One page without the messages themselves, newest first, and the total, exact up to MOST_COUNTED."""
    parts, values = ["true"], dict[str, object]()
    if wanted.project_ids is not None:
        parts.append("l.project_id = ANY(CAST(:projects AS bigint[]))")
        values["projects"] = list(wanted.project_ids)
    for name in ("topic", "schedule_id", "job_id"):
        value = getattr(wanted, name)
        if value is not None:
            parts.append(f"l.{name} = :{name}")
            values[name] = value
    where = " AND ".join(parts)
    rows = connection.execute(
        text(
            f"SELECT {_LISTED} FROM dead_letters l {_JOIN} WHERE {where}"  # noqa: S608 (fixed words only)
            " ORDER BY l.id DESC LIMIT :limit OFFSET :offset"
        ),
        values | {"limit": page_size, "offset": (page - 1) * page_size},
    ).all()
    counted = f"SELECT count(*) FROM (SELECT FROM dead_letters l WHERE {where} LIMIT :most) AS found"  # noqa: S608
    total = connection.execute(text(counted), values | {"most": MOST_COUNTED + 1}).scalar_one()
    return rows, int(total)


def get(connection: Connection, letter_id: int, *, lock: bool = False) -> Row[Any] | None:
    """One letter, whole; None when there is none."""
    if lock and connection.execute(_LOCK, {"id": letter_id}).one_or_none() is None:
        return None
    return connection.execute(_GET, {"id": letter_id}).one_or_none()


def headers_of(row: Row[Any]) -> Headers:
    """The original headers of a letter."""
    return [(name, None if raw is None else base64.b64decode(raw)) for name, raw in orjson.loads(row.headers)]


def note_resend(connection: Connection, letter_id: int, by: str, job_id: int | None) -> None:
    """Remember that a letter was sent again, by whom, and as which job if as one."""
    connection.execute(_NOTE, {"letter_id": letter_id, "by": by, "job_id": job_id})


def _base64(raw: bytes | None) -> str | None:
    return None if raw is None else base64.b64encode(raw).decode()


def _storable(value: str | None) -> str | None:
    return None if value is None else value.replace("\x00", "\ufffd")
