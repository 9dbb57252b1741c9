"""Schedules: definitions, their versions and timers (tables schedules, schedule_versions, schedule_timers).

The api alone writes definitions. The dispatcher advances timers with statements of its own; here a timer is set at
creation and when an edit moves it. Lock order: `lock_timer` first, then `get(..., lock=True)` in a new statement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, Row, TextualSelect, column, text

from shared.domain.schedule import DEFINITION_FIELDS, Definition, Timer
from shared.events.envelope import Message
from shared.storage import outbox
from shared.storage.versions import KEPT

_READ = ", ".join(f"s.{name}" for name in DEFINITION_FIELDS)

COLUMNS = f"""s.id, {_READ}, s.version, s.created_at, s.updated_at,
    t.next_run_at, t.next_scheduled_for, t.last_claimed_for,
    coalesce(st.success_count, 0) AS success_count, coalesce(st.failure_count, 0) AS failure_count,
    st.last_run_at, st.last_status, st.last_error"""
_JSON = frozenset({"task_parameters", "tags"})
_POLICIES = DEFINITION_FIELDS[DEFINITION_FIELDS.index("dst_gap") : DEFINITION_FIELDS.index("enabled")]
# A schedule as lists show it, in that order: what PostgreSQL can give in its final form, it gives.
_LISTED = {
    **{name: f"s.{name}" for name in ("id", "project_id", "name", "description", "task_type", "frequency", "timezone")},
    "next_run_at": "t.next_run_at",
    "enabled": "s.enabled",
    "run_count": "coalesce(st.success_count + st.failure_count, 0)",
    "success_count": "coalesce(st.success_count, 0)",
    "failure_count": "coalesce(st.failure_count, 0)",
    "success_rate": "NULL",
    "is_active": "s.enabled AND t.next_run_at IS NOT NULL AND (s.end_time IS NULL OR s.end_time >= now())",
    **{name: f"date_trunc('second', s.{name})" for name in ("created_at", "updated_at")},
    **{name: f"s.{name}::text" for name in ("task_parameters", "tags")},
    **{name: f"s.{name}" for name in ("cron_expression", "interval_seconds", "start_time", "end_time")},
    **{name: f"st.{name}" for name in ("last_run_at", "last_status", "last_error")},
    "band": "NULL",
    "version": "s.version",
    **{name: f"s.{name}" for name in _POLICIES},
}
LISTED = ", ".join(f"{expression} AS {name}" for name, expression in _LISTED.items())


def listed(statement: str, *more: str) -> TextualSelect:
    """A statement whose rows are LISTED, and `more` behind them.

    Named beforehand, its columns are not looked through at every execution, which costs a third of a short read.
    """
    return text(statement).columns(*map(column, (*_LISTED, *more)))


JOINS = """LEFT JOIN schedule_timers t ON t.schedule_id = s.id
    LEFT JOIN schedule_statistics st ON st.schedule_id = s.id"""


@dataclass(frozen=True, slots=True)
class StoredSchedule:
    """A schedule as it stands: definition, timer and statistics."""

    id: int
    definition: Definition
    version: int
    created_at: datetime
    updated_at: datetime
    timer: Timer
    last_claimed_for: datetime | None
    success_count: int = 0
    failure_count: int = 0
    last_run_at: datetime | None = None
    last_status: str | None = None
    last_error: str | None = None


def from_row(row: Row[Any]) -> StoredSchedule:
    """A row of COLUMNS."""
    values = row._mapping
    return StoredSchedule(
        id=row.id,
        definition=Definition(**{name: values[name] for name in DEFINITION_FIELDS}),
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
        timer=Timer(row.next_run_at, row.next_scheduled_for),
        last_claimed_for=row.last_claimed_for,
        success_count=row.success_count,
        failure_count=row.failure_count,
        last_run_at=row.last_run_at,
        last_status=row.last_status,
        last_error=row.last_error,
    )


_GET = f"SELECT {COLUMNS} FROM schedules s {JOINS} WHERE s.id = :id AND s.deleted_at IS NULL"  # noqa: S608
_GET_PLAIN = text(_GET)
_GET_LOCKED = text(_GET + " FOR UPDATE OF s")
_LOCK_TIMER = text("SELECT clock_timestamp() FROM schedule_timers WHERE schedule_id = :id FOR UPDATE")


def get(connection: Connection, schedule_id: int, *, lock: bool = False) -> StoredSchedule | None:
    """A schedule by id; None when there is none or it has been deleted."""
    row = connection.execute(_GET_LOCKED if lock else _GET_PLAIN, {"id": schedule_id}).one_or_none()
    return None if row is None else from_row(row)


def lock_timer(connection: Connection, schedule_id: int) -> datetime | None:
    """Take the timer's row lock, and the database's time after that; None when there is no such schedule."""
    found: datetime | None = connection.execute(_LOCK_TIMER, {"id": schedule_id}).scalar_one_or_none()
    if found is None:
        return None
    # The lock may have been waited for, and the row's statement took its time before that.
    now: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return now


_PREPARE = text("""
SELECT clock_timestamp() AS now, nextval(pg_get_serial_sequence('schedules', 'id')) AS id,
    (SELECT parameters_schema::text FROM task_types WHERE name = :task_type) AS parameters_schema,
    EXISTS (SELECT FROM projects WHERE id = :project_id) AS project_exists,
    (SELECT coalesce(sum(schedules), 0) FROM schedule_counts WHERE project_id = :project_id) AS schedules,
    EXISTS (SELECT FROM repositories WHERE id = :repository_id AND project_id = :project_id AND deleted_at IS NULL)
        AS repository_exists,
    EXISTS (SELECT FROM webhooks WHERE id = :webhook_id AND project_id = :project_id AND deleted_at IS NULL)
        AS webhook_exists,
    EXISTS (SELECT FROM schedules WHERE project_id = :project_id AND task_type = :task_type
        AND conflict_key = :conflict_key AND enabled AND deleted_at IS NULL) AS target_shared
""")
_SURROUNDINGS = text(
    (_PREPARE.text).replace("nextval(pg_get_serial_sequence('schedules', 'id')) AS id", "CAST(NULL AS bigint) AS id")
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a definition is judged against, read in one statement. `id` is reserved for a creation, else 0."""

    now: datetime
    id: int
    parameters_schema: str | None
    """JSON text; None: no such task type."""
    project_exists: bool
    schedules: int
    """How many schedules the project has."""
    repository_exists: bool
    webhook_exists: bool
    target_shared: bool
    """Whether an enabled schedule has this project, task type and target: only then conflicts are possible."""


def surroundings(
    connection: Connection,
    project_id: int,
    task_type: str,
    repository_id: int | None,
    webhook_id: int | None,
    conflict_key: str,
    *,
    reserve: bool,
) -> Surroundings:
    """Read them; with `reserve`, draw the id of a schedule to be created."""
    values = {
        "project_id": project_id,
        "task_type": task_type,
        "repository_id": repository_id,
        "webhook_id": webhook_id,
        "conflict_key": conflict_key,
    }
    row = connection.execute(_PREPARE if reserve else _SURROUNDINGS, values).one()
    return Surroundings(
        row.now,
        row.id or 0,
        row.parameters_schema,
        row.project_exists,
        int(row.schedules),
        row.repository_exists,
        row.webhook_exists,
        row.target_shared,
    )


_NAMES = ", ".join(DEFINITION_FIELDS)
_VALUES = ", ".join(f"CAST(:{name} AS jsonb)" if name in _JSON else f":{name}" for name in DEFINITION_FIELDS)
_KEPT_VALUES = ", ".join(f"CAST(:{name} AS jsonb)" if name in _JSON else f":{name}" for name in KEPT.split(", "))
_INSERT = text(f"""
WITH made AS (
    INSERT INTO schedules (id, {_NAMES}, conflict_key, created_at, updated_at)
    VALUES (:id, {_VALUES}, :conflict_key, :now, :now)
), versioned AS (
    INSERT INTO schedule_versions (schedule_id, version, {KEPT}, created_at) VALUES (:id, 1, {_KEPT_VALUES}, :now)
), timed AS (
    INSERT INTO schedule_timers (schedule_id, project_id, next_run_at, next_scheduled_for)
    VALUES (:id, :project_id, :next_run_at, :next_scheduled_for)
), announced AS (
    INSERT INTO outbox (message_count, messages) VALUES (:message_count, :messages)
)
SELECT pg_notify(channel, payload)
FROM unnest(CAST(:channels AS text[]), CAST(:payloads AS text[])) AS told (channel, payload)
""")  # noqa: S608


def insert(connection: Connection, new: StoredSchedule, conflict_key: str, messages: Sequence[Message]) -> None:
    """Store a new schedule under its reserved id: definition, first version, timer and messages, in one statement.

    Creations are many at once where schedules are made by programs; each statement saved is a tenth of their cost.
    """
    told = {outbox.OUTBOX_CHANNEL: ""}
    if new.timer.next_run_at is not None:
        told[outbox.DUE_CHANNEL] = outbox.moved(new.timer.next_run_at)
    connection.execute(
        _INSERT,
        {
            **_parameters(new.definition),
            "id": new.id,
            "conflict_key": conflict_key,
            "now": new.created_at,
            "next_run_at": new.timer.next_run_at,
            "next_scheduled_for": new.timer.next_scheduled_for,
            "message_count": len(messages),
            "messages": outbox.encoded(messages),
            "channels": list(told),
            "payloads": list(told.values()),
        },
    )


_SET = ", ".join(
    f"{name} = CAST(:{name} AS jsonb)" if name in _JSON else f"{name} = :{name}" for name in DEFINITION_FIELDS
)
_UPDATE = text(f"""
WITH changed AS (
    UPDATE schedules SET {_SET}, conflict_key = :conflict_key, version = version + 1, updated_at = :now
    WHERE id = :id RETURNING id, version, {KEPT}
)
INSERT INTO schedule_versions (schedule_id, version, {KEPT}, created_at)
SELECT id, version, {KEPT}, :now FROM changed RETURNING version
""")  # noqa: S608


def update(connection: Connection, schedule_id: int, definition: Definition, conflict_key: str, now: datetime) -> int:
    """Store a changed definition (timer and row locked by the caller); returns its new version."""
    values = {**_parameters(definition), "id": schedule_id, "conflict_key": conflict_key, "now": now}
    version: int = connection.execute(_UPDATE, values).scalar_one()
    return version


_SET_TIMER = text("""
UPDATE schedule_timers SET next_run_at = :next_run_at, next_scheduled_for = :next_scheduled_for,
    last_claimed_for = coalesce(:claimed, last_claimed_for)
WHERE schedule_id = :id
""")


def set_timer(connection: Connection, schedule_id: int, timer: Timer, claimed: datetime | None = None) -> None:
    """Move a locked timer; `claimed` is the occurrence just claimed, if one was."""
    connection.execute(
        _SET_TIMER,
        {
            "id": schedule_id,
            "next_run_at": timer.next_run_at,
            "next_scheduled_for": timer.next_scheduled_for,
            "claimed": claimed,
        },
    )


_DELETE = text(
    "UPDATE schedules SET deleted_at = :now, updated_at = :now, enabled = false, version = version + 1"
    " WHERE id = :id RETURNING version"
)


def delete(connection: Connection, schedule_id: int, now: datetime) -> int:
    """Mark a locked schedule deleted; returns the version of that change. Its timer is emptied by `set_timer`."""
    version: int = connection.execute(_DELETE, {"id": schedule_id, "now": now}).scalar_one()
    return version


def _parameters(definition: Definition) -> dict[str, object]:
    values: dict[str, object] = {name: getattr(definition, name) for name in DEFINITION_FIELDS}
    for name in _JSON:
        values[name] = to_json(values[name])
    return values


def to_json(value: object) -> str:
    """JSON text for a jsonb column. Raises TypeError for what JSON cannot say."""
    return orjson.dumps(dict(value) if isinstance(value, Mapping) else value).decode()
