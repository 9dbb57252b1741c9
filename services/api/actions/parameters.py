"""Judging task parameters by their task type's JSON Schema, and reading the targets they name.

Every error is reported under the parameter's own name, such as `task_parameters.repository_id`.
"""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson
from jsonschema.exceptions import ValidationError

from services.api.actions.schema_rules import Endless, compiled, errors
from services.api.actions.schema_words import sentence
from services.api.problems import field_error

MOST_ERRORS = 50


@lru_cache(maxsize=512)
def validator(parameters_schema: str) -> Any:
    """The compiled validator of a schema's JSON text."""
    return compiled(orjson.loads(parameters_schema))


def problems(
    parameters_schema: str, parameters: Mapping[str, Any], field: str = "task_parameters"
) -> list[dict[str, Any]]:
    """Every parameter that breaks the schema; `field` is where they are."""
    found: list[dict[str, Any]] = []
    try:
        for error in errors(validator(parameters_schema), parameters):
            found.extend(_field_errors(error, field))
            if len(found) >= MOST_ERRORS:
                break
    except Endless as error:
        found.append(field_error(field, str(error)))
    return sorted(found, key=lambda one: str(one["field"]))


def _field_errors(error: ValidationError, field: str) -> list[dict[str, Any]]:
    path = [field, *map(str, error.absolute_path)]
    rule: Any = error.validator_value
    instance: Any = error.instance
    if error.validator == "required":
        missing = [name for name in rule if name not in instance]
        # jsonschema reports one error a missing name; the name is in its message.
        names = [name for name in missing if error.message.startswith(repr(name))] or missing
        return [field_error(".".join([*path, name]), "it is needed") for name in names]
    if error.validator == "additionalProperties" and rule is False and isinstance(error.schema, Mapping):
        known = error.schema.get("properties", {})
        return [
            field_error(".".join([*path, name]), "there is no such parameter") for name in instance if name not in known
        ]
    if error.validator in ("anyOf", "oneOf") and error.context:
        return _field_errors(max(error.context, key=lambda one: one.validator != "type"), field)
    return [field_error(".".join(path), sentence(error), instance)]


def target_of(parameters: Mapping[str, Any], name: str) -> int | None:
    """The id a parameter such as repository_id names, if it does."""
    value = parameters.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 63 else None


def conflict_key(parameters: Mapping[str, Any]) -> str:
    """What two schedules of a task type must have in common to be in each other's way: their target."""
    for name in ("repository_id", "webhook_id"):
        target = target_of(parameters, name)
        if target is not None:
            return f"{name}:{target}"
    canonical = orjson.dumps(dict(parameters), option=orjson.OPT_SORT_KEYS)
    return f"parameters:{hashlib.blake2b(canonical, digest_size=16).hexdigest()}"
