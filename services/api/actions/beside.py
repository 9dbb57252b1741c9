"""What else is wrong with a body that its model refuses, so that one answer names every wrong field.

Called by `JsonRoute`. An accepted body is judged where it is used, by the same rules.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from services.api.actions import targets
from services.api.actions.editing import changes_of
from services.api.actions.judging import problems, surroundings_of
from services.api.actions.timing import wrong_timing
from services.api.caller import Caller, known_caller
from services.api.models.objects import RepositoryCreate, RepositoryUpdate, WebhookCreate, WebhookUpdate
from services.api.models.schedules import ScheduleCreate, ScheduleUpdate
from shared.domain.schedule import TIMING_FIELDS, Definition
from shared.storage import schedules
from shared.storage.database import Connection

_READ = TIMING_FIELDS | {"task_type", "task_parameters", "retry_first_seconds", "retry_cap_seconds"}
Found = list[dict[str, Any]]


async def wrong_beside(request: Request, model: object, document: object, refused: Collection[str]) -> Found:
    """The wrong fields among those that the body's model did not refuse; none for bodies that nobody judges."""
    caller = known_caller(request)
    if caller is None or not isinstance(document, dict):
        return []
    readable = {name: value for name, value in document.items() if name not in refused}
    if model in (ScheduleCreate, ScheduleUpdate):
        schedule_id = request.path_params.get("schedule_id")
        return await run_in_threadpool(_of_schedule, caller, schedule_id, document, refused)
    if model in (RepositoryCreate, RepositoryUpdate, WebhookCreate, WebhookUpdate):
        return await run_in_threadpool(_of_target, caller, model, readable)
    return wrong_timing(model, document, refused)


def _of_target(caller: Caller, model: object, readable: dict[str, Any]) -> Found:
    url = readable.get("url")
    if model in (RepositoryCreate, RepositoryUpdate):
        found = targets.wrong_repository(url, readable.get("default_branch"), caller)
    else:
        found = targets.wrong_webhook(url, readable.get("secret"), caller)
    if "project_id" in readable:
        with caller.context.database.statements() as connection:
            found += targets.unknown_project(connection, int(readable["project_id"]), caller)
    return found


def _of_schedule(caller: Caller, schedule_id: int | None, document: dict[str, Any], refused: Collection[str]) -> Found:
    # The model of changes reads each field as the one of creations does, and misses none.
    read = ScheduleUpdate.model_validate(
        {name: value for name, value in document.items() if name in _READ and name not in refused}
    )
    with caller.context.database.statements() as connection:
        if schedule_id is None:
            project_id = 0 if "project_id" in refused else int(document["project_id"])
            definition = Definition(project_id, "", "", "")
            found = _judged(connection, definition.changed(changes_of(read, definition)), caller, None)
        else:
            stored = schedules.get(connection, schedule_id)
            if stored is None or not caller.principal.sees(stored.definition.project_id):
                return wrong_timing(ScheduleUpdate, document, refused)
            # A frequency that nobody can read is not the stored one: what belongs to it is not judged.
            unread = {"frequency": ""} if "frequency" in refused else {}
            after = stored.definition.changed(changes_of(read, stored.definition) | unread)
            retimed = any(getattr(after, name) != getattr(stored.definition, name) for name in TIMING_FIELDS)
            found = _judged(connection, after, caller, stored.created_at, retimed=retimed)
    return [one for one in found if str(one["field"]).partition(".")[0] not in refused]


def _judged(
    connection: Connection, definition: Definition, caller: Caller, created_at: datetime | None, *, retimed: bool = True
) -> Found:
    around = surroundings_of(connection, definition, reserve=False)
    settings = caller.context.settings
    created = created_at or around.now
    return problems(connection, definition, around, caller.principal, settings, created, retimed=retimed)[1]
