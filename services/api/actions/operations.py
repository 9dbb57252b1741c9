"""Judging a batch's operations by their own task types, as the worker does before it runs any of them.

What the batch's own schema says of an operation (its shape, no batch in a batch) is reported by `parameters`.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from services.api.actions import parameters
from services.api.problems import field_error
from shared.storage import task_types
from shared.storage.database import Connection

_MOST_NAMED = 20


def problems(connection: Connection, batch: Mapping[str, Any], refused: Collection[str]) -> list[dict[str, Any]]:
    """Operations of types that nobody has registered, and parameters that break their type's schema.

    `refused` holds the fields that the batch's own schema refuses: they are not reported twice.
    """
    listed = batch.get("operations")
    named: list[tuple[str, str, Any]] = []
    for place, operation in enumerate(listed if isinstance(listed, list) else []):
        path = f"task_parameters.operations.{place}"
        task_type = operation.get("task_type") if isinstance(operation, dict) else None
        if isinstance(task_type, str) and f"{path}.task_type" not in refused:
            named.append((path, task_type, operation.get("task_parameters", {})))
    if not named:
        return []
    schemas = task_types.schemas(connection, {task_type for _, task_type, _ in named})
    known = task_types.names(connection) if any(task_type not in schemas for _, task_type, _ in named) else []
    found: list[dict[str, Any]] = []
    for path, task_type, given in named:
        if task_type not in schemas:
            found.append(unknown_type(f"{path}.task_type", task_type, known))
        elif isinstance(given, dict):
            found += parameters.problems(schemas[task_type], given, f"{path}.task_parameters")
        if len(found) >= parameters.MOST_ERRORS:
            break
    return found


def unknown_type(field: str, name: str, known: Sequence[str]) -> dict[str, Any]:
    """A field that names a task type which is none."""
    return field_error(field, f"{name} is not a task type: {', '.join(known[:_MOST_NAMED])}", name)
