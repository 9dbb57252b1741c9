"""Whether a definition can be accepted, and what is worth warning about. Called by creation and edits,
and by `beside` for bodies that their model refuses.
"""

from datetime import datetime
from typing import Any

from services.api.access.principal import Principal
from services.api.actions import operations, parameters
from services.api.problems import field_error, invalid, of_recurrence
from services.api.settings import Settings
from shared.domain.recurrence import Recurrence, RecurrenceError, problem_if_past
from shared.domain.schedule import Definition, recurrence_of
from shared.storage import schedules, task_types
from shared.storage.database import Connection
from shared.storage.schedules import Surroundings


def surroundings_of(connection: Connection, definition: Definition, *, reserve: bool) -> Surroundings:
    """What the database knows of a definition's project, task type and targets."""
    return schedules.surroundings(
        connection,
        definition.project_id,
        definition.task_type,
        parameters.target_of(definition.task_parameters, "repository_id"),
        parameters.target_of(definition.task_parameters, "webhook_id"),
        parameters.conflict_key(definition.task_parameters),
        reserve=reserve,
    )


def judge(
    connection: Connection,
    definition: Definition,
    around: Surroundings,
    principal: Principal,
    settings: Settings,
    created_at: datetime,
    *,
    retimed: bool = True,
) -> Recurrence:
    """The recurrence of a definition that is accepted; else Problem 422 with every wrong field.

    `retimed`: its timing is new.
    """
    recurrence, errors = problems(connection, definition, around, principal, settings, created_at, retimed=retimed)
    if errors or recurrence is None:
        raise invalid(errors)
    return recurrence


def problems(
    connection: Connection,
    definition: Definition,
    around: Surroundings,
    principal: Principal,
    settings: Settings,
    created_at: datetime,
    *,
    retimed: bool,
) -> tuple[Recurrence | None, list[dict[str, Any]]]:
    """The recurrence, where the timing makes one, and every wrong field."""
    errors: list[dict[str, Any]] = []
    recurrence: Recurrence | None = None
    try:
        recurrence = recurrence_of(definition, created_at)
    except RecurrenceError as error:
        errors += [of_recurrence(problem) for problem in error.problems]
    past = problem_if_past(recurrence, around.now) if recurrence is not None and retimed else None
    if past is not None:
        errors.append(of_recurrence(past))
    if not principal.sees(definition.project_id) or not around.project_exists:
        errors.append(field_error("project_id", f"there is no project {definition.project_id}", definition.project_id))
    if around.parameters_schema is None:
        errors.append(operations.unknown_type("task_type", definition.task_type, task_types.names(connection)))
    else:
        wrong = parameters.problems(around.parameters_schema, definition.task_parameters)
        errors += wrong
        if definition.task_type == "batch":
            refused = {str(one["field"]) for one in wrong}
            errors += operations.problems(connection, definition.task_parameters, refused)
    seconds = definition.interval_seconds
    if seconds is not None and 1 <= seconds < settings.min_interval_seconds:
        message = f"the shortest interval allowed here is {settings.min_interval_seconds} seconds"
        errors.append(field_error("interval_seconds", message, seconds, str(settings.min_interval_seconds)))
    if definition.retry_cap_seconds < definition.retry_first_seconds:
        message = f"it is below retry_first_seconds ({definition.retry_first_seconds:g})"
        errors.append(field_error("retry_cap_seconds", message, definition.retry_cap_seconds))
    return recurrence, errors


def warnings_of(definition: Definition, around: Surroundings) -> list[str]:
    """Targets that are not there (yet): the schedule is accepted, its jobs will fail saying so."""
    warnings = []
    for name, exists in (("repository", around.repository_exists), ("webhook", around.webhook_exists)):
        target = parameters.target_of(definition.task_parameters, f"{name}_id")
        if target is not None and not exists:
            warnings.append(
                f"{name} {target} does not exist in project {definition.project_id}: jobs fail until it does"
            )
    return warnings
