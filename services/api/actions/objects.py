"""Changes of what is no schedule, for the audit log: stored in the outbox by the transaction that makes them.

Projects, repositories, webhooks, task types, API keys. Called by their routes with the object as the api shows it, so
that no secret can be in the event.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import orjson

from services.api.actions.changes import SOURCE, publish
from services.api.caller import Caller
from shared.events.envelope import Event, encode
from shared.events.topics import OBJECTS
from shared.events.types import ObjectChanged
from shared.storage import outbox
from shared.storage.database import Connection
from shared.telemetry.tracing import current_traceparent

Kind = Literal["project", "repository", "webhook", "task_type", "key"]
Change = Literal["created", "updated", "deleted", "rotated", "revoked"]


def note(
    connection: Connection,
    caller: Caller,
    kind: Kind,
    change: Change,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    secret_changed: bool = False,
) -> None:
    """Announce a change. Once a transaction: it wakes the relay."""
    shown = after or before or {}
    identity = shown.get("id", shown["name"])
    now = outbox.now(connection)
    data = ObjectChanged(
        kind=kind,
        object_id=shown.get("id"),
        name=shown["name"],
        change=change,
        project_id=shown["id"] if kind == "project" else shown.get("project_id"),
        actor=caller.actor,
        before=_plain(before),
        after=_plain(after),
        secret_changed=secret_changed,
    )
    event_id = f"object-{kind}-{identity}-{change}-{int(now.timestamp() * 1e6)}"
    event = Event(event_id, SOURCE, now, data, traceparent=current_traceparent())
    publish(connection, [replace(encode(OBJECTS.name, event), key=f"{kind}-{identity}")])


def _plain(shown: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """As JSON says it: instants as text."""
    if shown is None:
        return None
    plain: dict[str, Any] = orjson.loads(orjson.dumps(dict(shown), option=orjson.OPT_UTC_Z))
    return plain
