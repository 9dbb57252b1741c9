"""The outbox: events that a transaction decided and the relay has yet to publish.

Writers (api, the dispatcher's tick and rescue) call `add` inside their transaction; the dispatcher's relay reads and
removes. One row may hold many messages. It is a queue emptied by acknowledgement, never a log read by id.
"""

import base64
from collections.abc import Sequence
from datetime import datetime

import orjson
from sqlalchemy import Connection, text

from shared.events.envelope import Message

OUTBOX_CHANNEL = "commandcenter_outbox"
"""NOTIFY channel that wakes the relay; without payload."""
DUE_CHANNEL = "commandcenter_due"
"""Wakes the tick. Payload: the instant that a timer was moved to (`moved`), or nothing: it may be any."""
LOST_CHANNEL = "commandcenter_lost"
"""Wakes the rescue: a worker has found leases of its dead predecessor and ended them. Without payload."""
MOST_A_ROW = 1_000

_ADD = text("INSERT INTO outbox (message_count, messages) VALUES (:count, :messages)")
_NOW = text("SELECT clock_timestamp()")
_NOTIFY = text("SELECT pg_notify(:channel, :payload)")


def add(connection: Connection, messages: Sequence[Message]) -> None:
    """Store messages for the relay, in order, as one row or, where they are very many, several."""
    for first in range(0, len(messages), MOST_A_ROW):
        part = messages[first : first + MOST_A_ROW]
        add_encoded(connection, len(part), encoded(part))


def encoded(messages: Sequence[Message]) -> str:
    """The text that a row holds."""
    return orjson.dumps(list(messages)).decode()


def verbatim(
    topic: str, key: bytes | None, headers: Sequence[tuple[str, bytes | None]], value: bytes | None
) -> dict[str, object]:
    """The document of a message whose bytes must stay as they are: another's, that is sent again."""
    coded = [[name, _base64(raw)] for name, raw in headers]
    return {"topic": topic, "bytes": {"key": _base64(key), "headers": coded, "value": _base64(value)}}


def add_verbatim(
    connection: Connection,
    topic: str,
    key: bytes | None,
    headers: Sequence[tuple[str, bytes | None]],
    value: bytes | None,
) -> None:
    """Store such a message for the relay."""
    add_encoded(connection, 1, orjson.dumps([verbatim(topic, key, headers, value)]).decode())


def _base64(raw: bytes | None) -> str | None:
    return None if raw is None else base64.b64encode(raw).decode()


def add_encoded(connection: Connection, count: int, messages: str) -> None:
    """The same for a batch that is already the JSON array of {topic, key, headers, value}."""
    connection.execute(_ADD, {"count": count, "messages": messages})


def now(connection: Connection) -> datetime:
    """The database's time, for events that no row's lock has given one."""
    found: datetime = connection.execute(_NOW).scalar_one()
    return found


def moved(to: datetime) -> str:
    """The payload for DUE_CHANNEL: where the earliest timer that a transaction moves or stores goes."""
    return to.isoformat()


def notify(connection: Connection, channel: str, payload: str = "") -> None:
    """Wake the listener when this transaction commits. At most once a transaction: NOTIFY locks globally at commit."""
    connection.execute(_NOTIFY, {"channel": channel, "payload": payload})
