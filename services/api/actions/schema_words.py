"""What a broken JSON Schema rule asks for, in words. Called by `parameters`.

A registered type's author says what a `pattern` means by the `description` beside it; without one the pattern itself
is all there is to tell.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from jsonschema.exceptions import ValidationError

from services.api.actions.schema_rules import LONGEST_MATCHED

_MOST_CHOICES = 20
_KINDS = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def sentence(error: ValidationError) -> str:
    """What is wanted of the value that broke the rule."""
    described = _WORDS.get(str(error.validator))
    if described is None:
        return f"it breaks the rule {error.validator or 'false'} of the task type's schema"
    return described(error.validator_value, error)[:300]


def _kinds(rule: Any, _error: ValidationError) -> str:
    names = rule if isinstance(rule, list) else [rule]
    return f"{' or '.join(_KINDS.get(name, str(name)) for name in names)} is needed"


def _choices(rule: Any, _error: ValidationError) -> str:
    return f"one of {', '.join(map(_shown, rule[:_MOST_CHOICES]))} is needed"


def _form(rule: Any, error: ValidationError) -> str:
    if len(str(error.instance)) > LONGEST_MATCHED:
        return error.message
    wanted = error.schema.get("description") if isinstance(error.schema, Mapping) else None
    return f"it does not have the form that is needed: {wanted or f'one that matches {rule}'}"


def _not(rule: Any, _error: ValidationError) -> str:
    if isinstance(rule, Mapping) and "description" in rule:
        return str(rule["description"])
    if isinstance(rule, Mapping) and "const" in rule:
        return f"it may not be {_shown(rule['const'])}"
    return "it is what the task type's schema excludes"


def _shown(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


_WORDS: Mapping[str, Callable[[Any, ValidationError], str]] = {
    "type": _kinds,
    "enum": _choices,
    "const": lambda rule, _: f"only {_shown(rule)} is possible",
    "pattern": _form,
    "format": lambda rule, _: f"it is no {rule}",
    "not": _not,
    "minimum": lambda rule, _: f"{rule} or more is needed",
    "maximum": lambda rule, _: f"{rule} or less is needed",
    "exclusiveMinimum": lambda rule, _: f"more than {rule} is needed",
    "exclusiveMaximum": lambda rule, _: f"less than {rule} is needed",
    "multipleOf": lambda rule, _: f"a multiple of {rule} is needed",
    "minLength": lambda rule, _: f"at least {rule} characters are needed",
    "maxLength": lambda rule, _: f"at most {rule} characters are possible",
    "minItems": lambda rule, _: f"at least {rule} items are needed",
    "maxItems": lambda rule, _: f"at most {rule} items are possible",
    "uniqueItems": lambda _rule, _: "no item may come twice",
    "contains": lambda _rule, _: "an item that the task type asks for is missing",
    "minProperties": lambda rule, _: f"at least {rule} members are needed",
    "maxProperties": lambda rule, _: f"at most {rule} members are possible",
    "additionalProperties": lambda _rule, _: "it has members that the task type does not know",
    "unevaluatedProperties": lambda _rule, _: "it has members that the task type does not know",
    "anyOf": lambda _rule, _: "it fits none of the forms that the task type takes",
    "oneOf": lambda _rule, _: "it must fit exactly one of the forms that the task type takes",
}
