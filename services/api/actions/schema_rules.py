"""Which JSON Schemas may be registered for a task type. Called when one is, and by `parameters` for its validators.

A registered schema runs inside the api for every schedule of its type: it must not fetch anything, recurse for ever, or
hold the process with a regular expression that backtracks without end (seen: 41 characters froze the api until it was
killed, since Python's matcher cannot be interrupted).
"""

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

LONGEST_MATCHED = 1_000
"""Characters of a text that a `pattern` is tried on; longer ones are refused."""
_MOST_OPEN_REPEATS = 3
_MANY = 50
_parser: Any = import_module("re._parser")  # the only reader of Python's own syntax, unknown to typeshed
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")


class Endless(Exception):
    """A schema refers to itself without end, or to what it does not hold."""


def compiled(schema: Any) -> Any:
    """A validator that fetches nothing and tries patterns on short texts only."""
    return _Validator(schema, registry=Registry(), format_checker=Draft202012Validator.FORMAT_CHECKER)


def errors(validator: Any, instance: Mapping[str, Any]) -> Iterator[ValidationError]:
    """What breaks the schema. Raises Endless."""
    try:
        yield from validator.iter_errors(dict(instance))
    except (RecursionError, Unresolvable) as error:
        raise Endless(f"the schema cannot be followed: {str(error)[:200]}") from error


def schema_problem(schema: Mapping[str, Any]) -> str | None:
    """What is wrong with a JSON Schema that is to be registered."""
    try:
        Draft202012Validator.check_schema(schema)
        for name, value in _members(schema):
            if name in ("$ref", "$dynamicRef") and isinstance(value, str) and not value.startswith("#"):
                return f"{value[:100]}: references stay within the schema (#…)"
            patterns = [value] if name == "pattern" else list(value) if name == "patternProperties" else []
            for pattern in patterns:
                if isinstance(pattern, str) and not _harmless(pattern):
                    return f"{pattern[:100]} may match for ever: write it without repeats of repeats or of alternatives"
        list(errors(compiled(schema), {}))
    except SchemaError as error:
        return str(error.message)[:300]
    except (Endless, RecursionError) as error:
        return str(error)[:300]
    return None


def _members(schema: Any) -> Iterator[tuple[str, Any]]:
    """Every member of every object inside, whatever it means there: rather one refusal too many."""
    if isinstance(schema, Mapping):
        for name, value in schema.items():
            yield name, value
            yield from _members(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _members(value)


def _harmless(pattern: str) -> bool:
    """Whether no repeat holds another repeat or alternatives, nothing looks back, and few repeats are open."""
    try:
        parsed = _parser.parse(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    opened = [0]
    return _plain(parsed, False, opened) and opened[0] <= _MOST_OPEN_REPEATS


def _plain(items: Any, repeated: bool, opened: list[int]) -> bool:
    for operation, argument in items:
        name = str(operation)
        if name in _REPEATS:
            _, most, body = argument
            many = most > 1
            opened[0] += most > _MANY
            if (repeated and many) or not _plain(body, repeated or many, opened):
                return False
        elif name == "BRANCH":
            if repeated or not all(_plain(branch, repeated, opened) for branch in argument[1]):
                return False
        elif name == "SUBPATTERN":
            if not _plain(argument[-1], repeated, opened):
                return False
        elif name in ("ASSERT", "ASSERT_NOT"):
            if not _plain(argument[1], repeated, opened):
                return False
        elif name not in ("LITERAL", "NOT_LITERAL", "IN", "ANY", "AT", "RANGE"):
            return False  # back-references, conditions, and what a later Python adds
    return True


def _pattern(validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "string"):
        return
    if len(instance) > LONGEST_MATCHED:
        yield ValidationError(f"a text that must match a pattern has {LONGEST_MATCHED:,} characters at most")
    elif not re.search(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


_Validator: Any = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]
