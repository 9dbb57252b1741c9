"""What the relay reads and removes (table outbox). Writers: outbox.py, dispatch.py, rescue.py."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from shared.storage.session import Session, array

_READ = """
SELECT id, message_count, messages FROM (
    SELECT *, sum(octet_length(messages)) OVER (ORDER BY id) - octet_length(messages) AS before
    FROM (SELECT id, message_count, messages FROM outbox WHERE NOT id = ANY(%(known)s::bigint[])
          ORDER BY id LIMIT %(limit)s) AS first
) AS sized WHERE before < %(most)s ORDER BY id
"""
_REMOVE = "DELETE FROM outbox WHERE id = ANY(%(ids)s::bigint[])"
_DEPTH = "SELECT coalesce(sum(message_count), 0), min(created_at), clock_timestamp() FROM outbox"


class OutboxRow(NamedTuple):
    """A stored row; `messages` is JSON text."""

    id: int
    message_count: int
    messages: str


def read(session: Session, known: Collection[int], limit: int = 1_000, most_bytes: int = 8_000_000) -> list[OutboxRow]:
    """The oldest rows that the relay does not hold already, bounded in number and size (one row at least)."""
    values = {"known": array(known), "limit": limit, "most": most_bytes}
    return list(map(OutboxRow._make, session.prepared(_READ, values)))


def read_one(session: Session, row_id: int) -> str | None:
    """The text of one row, or None when it is gone."""
    rows = session.execute("SELECT messages FROM outbox WHERE id = %(id)s", {"id": row_id})
    return rows[0][0] if rows else None


def remove(session: Session, ids: Sequence[int]) -> None:
    """Remove rows whose every message is settled."""
    session.execute(_REMOVE, {"ids": array(sorted(ids))})


def replace(session: Session, row_id: int, count: int, messages: str) -> None:
    """Put other messages in a row's place (dead letters for what Kafka refuses for good), in one step."""
    session.execute(
        "UPDATE outbox SET message_count = %(count)s, messages = %(messages)s WHERE id = %(id)s",
        {"id": row_id, "count": count, "messages": messages},
    )


def depth(session: Session) -> tuple[int, float]:
    """Messages stored, and the age of the oldest row in seconds."""
    count, oldest, now = session.execute(_DEPTH)[0]
    age: float = (now - oldest).total_seconds() if isinstance(oldest, datetime) else 0.0
    return int(count), age
