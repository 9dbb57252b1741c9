"""Answers remembered under an Idempotency-Key (table idempotency_keys), in the transaction that did the work.

The row is inserted first: a second request with the same key waits for the first one's commit and then finds its
answer; if the first rolled back, the second does the work.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson
from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Remembered:
    """The answer of an earlier request."""

    fingerprint: bytes
    status: int
    headers: Mapping[str, str]
    body: bytes


_BEGIN = text(
    "INSERT INTO idempotency_keys AS k (actor, key, fingerprint) VALUES (:actor, :key, :fingerprint)"
    " ON CONFLICT (actor, key) DO UPDATE SET fingerprint = excluded.fingerprint, status = NULL, body = NULL,"
    " headers = NULL, created_at = now() WHERE k.created_at < now() - make_interval(hours => :hours) RETURNING actor"
)
_FIND = text("SELECT fingerprint, status, headers, body FROM idempotency_keys WHERE actor = :actor AND key = :key")
_FINISH = text(
    "UPDATE idempotency_keys SET status = :status, headers = CAST(:headers AS jsonb), body = :body"
    " WHERE actor = :actor AND key = :key"
)
_FORGET = text("DELETE FROM idempotency_keys WHERE created_at < now() - make_interval(hours => :hours)")


def begin(connection: Connection, actor: str, key: str, fingerprint: bytes, hours: int) -> Remembered | None:
    """Take a key for this transaction (None), or find what was answered under it within the last `hours`."""
    values = {"actor": actor, "key": key, "fingerprint": fingerprint, "hours": hours}
    if connection.execute(_BEGIN, values).one_or_none() is not None:
        return None
    row = connection.execute(_FIND, {"actor": actor, "key": key}).one()
    return Remembered(bytes(row.fingerprint), row.status, row.headers, bytes(row.body))


def finish(connection: Connection, actor: str, key: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Remember the answer; visible when the transaction commits."""
    values = {
        "actor": actor,
        "key": key,
        "status": status,
        "headers": orjson.dumps(dict(headers)).decode(),
        "body": body,
    }
    connection.execute(_FINISH, values)


def forget_old(connection: Connection, hours: int) -> int:
    """Delete what nobody may ask for any more; returns how many."""
    return connection.execute(_FORGET, {"hours": hours}).rowcount
