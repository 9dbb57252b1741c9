"""The audit log (table audit_log): append-only, one chain of hashes for each topic partition.

The health service alone writes it, in the transaction that records the events. Order inside that transaction:
`lock_chains`, `known`, then `append`; the chain's row lock makes one writer of those who may hold the same Kafka
partition for a moment (DESIGN section 3).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, text

from shared.storage.audit_chain import BEGINNING, body, canonical, link


@dataclass(slots=True)
class Entry:
    """One fact for the log. `at` is the event's own instant, the same in every repeat of that event."""

    chain: str
    event_id: str
    at: datetime
    action: str
    actor: str | None = None
    address: str | None = None
    project_id: int | None = None
    schedule_id: int | None = None
    job_id: int | None = None
    attempt: int | None = None
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain: the place and hash of its last entry."""

    place: int
    hash: bytes


_ENSURE = text(
    "INSERT INTO audit_chains (chain, place, hash) SELECT unnest(CAST(:chains AS text[])), 0, :beginning"
    " ON CONFLICT DO NOTHING"
)
_LOCK = text(
    "SELECT chain, place, hash FROM audit_chains WHERE chain = ANY(CAST(:chains AS text[])) ORDER BY chain FOR UPDATE"
)
_KNOWN = text(
    "SELECT e.event_id FROM json_to_recordset(CAST(:events AS json)) AS e (event_id text, at timestamptz)"
    " WHERE (SELECT true FROM audit_log a WHERE a.event_id >= e.event_id AND a.event_id <= e.event_id AND a.at = e.at"
    " AND a.at BETWEEN :first AND :last ORDER BY a.event_id LIMIT 1)"
)
_ONLY_IN_ORDER = text("SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off")
_ANY_WAY = text("SET LOCAL enable_sort = on; SET LOCAL enable_bitmapscan = on")
_APPEND = text(
    "INSERT INTO audit_log (at, event_id, action, actor, address, project_id, schedule_id, job_id, attempt, detail,"
    " chain, place, previous_hash, hash)"
    " SELECT at, event_id, action, actor, address, project_id, schedule_id, job_id, attempt, detail,"
    " chain, place, decode(previous_hash, 'hex'), decode(hash, 'hex')"
    " FROM json_to_recordset(CAST(:entries AS json)) AS e (at timestamptz, event_id text, action text, actor text,"
    " address text, project_id bigint, schedule_id bigint, job_id bigint, attempt smallint, detail jsonb, chain text,"
    " place bigint, previous_hash text, hash text)"
)
_MOVE = text(
    "UPDATE audit_chains SET place = e.place, hash = decode(e.hash, 'hex')"
    " FROM json_to_recordset(CAST(:heads AS json)) AS e (chain text, place bigint, hash text)"
    " WHERE audit_chains.chain = e.chain"
)


def lock_chains(connection: Connection, chains: Collection[str]) -> dict[str, Head]:
    """Take the ends of these chains for this transaction; a chain never seen begins."""
    names = sorted(set(chains))
    heads = _lock(connection, names)
    if len(heads) < len(names):
        connection.execute(_ENSURE, {"chains": names, "beginning": BEGINNING})
        heads = _lock(connection, names)
    return heads


def _lock(connection: Connection, names: list[str]) -> dict[str, Head]:
    rows = connection.execute(_LOCK, {"chains": names})
    return {chain: Head(place, bytes(digest)) for chain, place, digest in rows}


def known(connection: Connection, events: Sequence[tuple[str, datetime]]) -> set[str]:
    """Which of these events (id, instant) the log holds already."""
    if not events:
        return set()
    instants = [at for _, at in events]
    document = orjson.dumps([{"event_id": event_id, "at": at} for event_id, at in events]).decode()
    parameters = {"events": document, "first": min(instants), "last": max(instants)}
    # A look for each event (the subquery), and in the order of ids, which the primary key alone gives. With statistics
    # that lag behind a fresh partition any index by instant would do, and events of one instant come by the thousand.
    connection.execute(_ONLY_IN_ORDER)
    found = set(connection.scalars(_KNOWN, parameters))
    connection.execute(_ANY_WAY)
    return found


def append(connection: Connection, entries: Sequence[Entry], heads: dict[str, Head]) -> None:
    """Add new entries in order, each behind the last of its chain; `heads` as `lock_chains` gave them."""
    if not entries:
        return
    rows: list[bytes] = []
    moved: dict[str, Head] = {}
    for entry in entries:
        head = moved.get(entry.chain) or heads[entry.chain]
        place = head.place + 1
        hashed = body(_row(entry, place))
        digest = link(head.hash, hashed)
        # What is hashed is also what is stored: the same JSON with the two hashes behind it.
        rows.append(b'%b,"previous_hash":"%b","hash":"%b"}' % (hashed[:-1], _hex(head.hash), _hex(digest)))
        moved[entry.chain] = Head(place, digest)
    connection.execute(_APPEND, {"entries": (b"[" + b",".join(rows) + b"]").decode()})
    ends = [{"chain": chain, "place": head.place, "hash": head.hash.hex()} for chain, head in moved.items()]
    connection.execute(_MOVE, {"heads": orjson.dumps(ends).decode()})


def _hex(digest: bytes) -> bytes:
    return digest.hex().encode()


def _row(entry: Entry, place: int) -> dict[str, object]:
    return {
        "chain": entry.chain,
        "place": place,
        "event_id": entry.event_id,
        "at": entry.at,
        "action": entry.action,
        "actor": entry.actor,
        "address": entry.address,
        "project_id": entry.project_id,
        "schedule_id": entry.schedule_id,
        "job_id": entry.job_id,
        "attempt": entry.attempt,
        "detail": canonical(entry.detail),
    }
