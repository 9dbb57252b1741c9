"""Changing a stored schedule: edits, enabling, disabling.

One transaction: timer lock, definition, skips of what fell due meanwhile, new timer, new version, change event. What
changes nothing writes nothing.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from services.api.actions import conflicts, parameters
from services.api.actions.changes import change, publish
from services.api.actions.creation import instant
from services.api.actions.judging import judge, surroundings_of, warnings_of
from services.api.answers import Answer, etag
from services.api.caller import Caller
from services.api.models.schedules import ScheduleUpdate, shown
from services.api.preconditions import check_version
from services.api.problems import not_found
from shared.domain.catchup import SkipRange
from shared.domain.job import SkipReason
from shared.domain.recurrence import Recurrence, RecurrenceError
from shared.domain.schedule import (
    DEFINITION_FIELDS,
    TIMING_FIELDS,
    Definition,
    Timer,
    recurrence_of,
    timer_after,
    unclaimed,
)
from shared.events.types import ScheduleChange, ScheduleDisabled, ScheduleEnabled, ScheduleUpdated
from shared.storage import jobs, outbox, schedules
from shared.storage.database import Connection
from shared.storage.schedules import StoredSchedule

_EMPTY = frozenset(
    {"description", "cron_expression", "interval_seconds", "start_time", "end_time", "start_deadline_seconds"}
)
_JUDGED = TIMING_FIELDS | {"task_type", "task_parameters", "retry_first_seconds", "retry_cap_seconds"}


def locked(connection: Connection, schedule_id: int, caller: Caller) -> tuple[StoredSchedule, datetime]:
    """A schedule in the caller's sight, with its timer and its row locked, and the database's time. Raises 404, 412."""
    now = schedules.lock_timer(connection, schedule_id)
    stored = schedules.get(connection, schedule_id, lock=True) if now is not None else None
    if now is None or stored is None or not caller.principal.sees(stored.definition.project_id):
        raise not_found("schedule", schedule_id)
    check_version(caller.request, stored.version)
    return stored, now


def edit(connection: Connection, schedule_id: int, body: ScheduleUpdate, caller: Caller) -> Answer:
    """200 with the schedule, warnings and conflicts."""
    stored, now = locked(connection, schedule_id, caller)
    after = stored.definition.changed(changes_of(body, stored.definition))
    return _store(connection, stored, after, caller, now)


def switch(connection: Connection, schedule_id: int, enabled: bool, caller: Caller) -> Answer:
    """200 with the schedule, enabled or disabled. Enabling again does not catch up."""
    stored, now = locked(connection, schedule_id, caller)
    return _store(connection, stored, stored.definition.changed({"enabled": enabled}), caller, now)


def changes_of(body: ScheduleUpdate, before: Definition) -> dict[str, Any]:
    """The fields that were sent; null empties what may be empty and resets what has a default."""
    changes: dict[str, Any] = {name: getattr(body, name) for name in body.model_fields_set}
    defaults = Definition(0, "", "", "")
    for name, value in changes.items():
        if value is None and name not in _EMPTY:
            changes[name] = getattr(defaults, name)
    frequency = changes.get("frequency", before.frequency)
    if frequency != before.frequency:  # what belonged to the old frequency goes with it
        if frequency != "cron":
            changes.setdefault("cron_expression", None)
        if frequency != "interval":
            changes.setdefault("interval_seconds", None)
    return changes


def _store(connection: Connection, stored: StoredSchedule, after: Definition, caller: Caller, now: datetime) -> Answer:
    before = stored.definition
    differing = {name for name in DEFINITION_FIELDS if _differ(getattr(before, name), getattr(after, name))}
    retimed = bool(differing & TIMING_FIELDS)
    around = surroundings_of(connection, after, reserve=False)
    warnings = warnings_of(after, around)
    key = parameters.conflict_key(after.task_parameters)
    recurrence: Recurrence | None = None
    if differing & _JUDGED:
        principal, settings = caller.principal, caller.context.settings
        recurrence = judge(connection, after, around, principal, settings, stored.created_at, retimed=retimed)
    elif after.enabled:  # one that cannot be evaluated any more (a zone that is gone) can be disabled all the same
        recurrence = recurrence_of(after, stored.created_at)
    if not differing:
        found = conflicts.of(connection, stored, recurrence, key, now)
        return Answer(200, {**shown(stored, now), "warnings": warnings, "conflicts": found}, etag(stored.version))
    timer = stored.timer
    moved = retimed or before.enabled != after.enabled
    # One that the dispatcher took off the clock, because it could not be dispatched, is wound up by any edit.
    if moved or (after.enabled and timer.next_run_at is None):
        timer = Timer()
        if recurrence is not None and after.enabled:
            timer = timer_after(recurrence, stored.id, now, stored.last_claimed_for)
            if moved and timer.next_run_at is None:
                warnings.append("nothing falls due inside its window: this schedule will never run")
        skip_unclaimed(connection, stored, now, SkipReason.EDITED if after.enabled or retimed else SkipReason.DISABLED)
        schedules.set_timer(connection, stored.id, timer)
    version = schedules.update(connection, stored.id, after, key, now)
    changed = schedules.StoredSchedule(
        stored.id,
        after,
        version,
        stored.created_at,
        now,
        timer,
        stored.last_claimed_for,
        stored.success_count,
        stored.failure_count,
        stored.last_run_at,
        stored.last_status,
        stored.last_error,
    )
    found = conflicts.of(connection, changed, recurrence, key, now)
    conflicts.warn(stored.id, found)
    kind = _kind(differing, after)
    event = change(
        kind, stored.id, version, caller.actor, before=before, after=after, created_at=stored.created_at, now=now
    )
    publish(connection, event)
    if timer.next_run_at is not None and timer != stored.timer:
        outbox.notify(connection, outbox.DUE_CHANNEL, outbox.moved(timer.next_run_at))
    word = kind.TYPE.split(".")[2]
    return Answer(
        200,
        {**shown(changed, now), "warnings": warnings, "conflicts": found},
        etag(version),
        log=(
            f"{word.capitalize()} schedule {stored.id} ({after.name}), next run at {instant(timer)}",
            {"schedule_id": stored.id, "action": f"schedule.{word}", "fields": ",".join(sorted(differing))},
        ),
    )


def _differ(one: object, other: object) -> bool:
    """As JSON tells values apart: 1 and true are equal to Python."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        sort = orjson.OPT_SORT_KEYS
        return orjson.dumps(dict(one), option=sort) != orjson.dumps(dict(other), option=sort)
    return one != other


def _kind(differing: set[str], after: Definition) -> type[ScheduleChange]:
    if differing != {"enabled"}:
        return ScheduleUpdated
    return ScheduleEnabled if after.enabled else ScheduleDisabled


def skip_unclaimed(connection: Connection, stored: StoredSchedule, now: datetime, reason: SkipReason) -> None:
    """Put what fell due and was not claimed on record, before it is forgotten."""
    if stored.timer.occurrence is None or stored.timer.occurrence > now:
        return
    try:
        missed = unclaimed(recurrence_of(stored.definition, stored.created_at), stored.timer, now, reason.value)
    except RecurrenceError:  # nobody can tell what else fell due; it can be disabled and deleted all the same
        missed = SkipRange(stored.timer.occurrence, stored.timer.occurrence, 1, reason.value)
    if missed is None:
        return
    skip = jobs.Skip(
        stored.id,
        stored.version,
        stored.definition.project_id,
        stored.definition.task_type,
        reason,
        missed.first,
        missed.last,
        missed.count,
    )
    jobs.insert_skips(connection, [skip], now)
