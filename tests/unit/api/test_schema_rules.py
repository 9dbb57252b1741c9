"""A registered schema cannot stop the api: seen as a pattern that froze it on 41 characters until it was killed."""

from __future__ import annotations

import orjson
import pytest

from services.api.actions.parameters import problems
from services.api.actions.schema_rules import schema_problem


def _with(pattern: str) -> dict[str, object]:
    return {"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}}


@pytest.mark.parametrize(
    "pattern", ["^(a+)+$", "(a|aa)+$", "(a*)*b", "((ab)?c+)*", r"(a)\1*", ".*.*.*.*x", "(?:a{1,9}){1,99}", "(a|a)*?b"]
)
def test_patterns_that_may_match_for_ever_are_refused(pattern: str) -> None:
    assert "for ever" in str(schema_problem(_with(pattern)))


@pytest.mark.parametrize(
    "pattern", ["^[a-z]+$", r"^[^@\s]+@[^@\s]+\.[^@\s]+$", "^(https?|ssh)://\\S+$", "(ab)+", "a|b"]
)
def test_usual_patterns_are_not(pattern: str) -> None:
    assert schema_problem(_with(pattern)) is None


def test_nothing_is_fetched_and_nothing_followed_without_end() -> None:
    for reference in ("http://127.0.0.1:1/x", "file:///etc/passwd", "other.json"):
        assert "within the schema" in str(schema_problem({"properties": {"a": {"$ref": reference}}}))
    for schema in ({"$ref": "#"}, {"allOf": [{"$ref": "#"}]}, {"$ref": "#/nope"}):
        assert "cannot be followed" in str(schema_problem(schema))
    loop = {"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"$ref": "#/$defs/x"}}}
    found = problems(orjson.dumps(loop).decode(), {"a": 1})
    assert "cannot be followed" in found[0]["message"]
    tree = {"type": "object", "properties": {"child": {"$ref": "#"}}}
    assert schema_problem(tree) is None
    assert problems(orjson.dumps(tree).decode(), {"child": {"child": {}}}) == []


def test_long_texts_are_not_matched() -> None:
    found = problems(orjson.dumps(_with("^a+$")).decode(), {"a": "a" * 100_000})
    assert "characters at most" in found[0]["message"]
    assert problems(orjson.dumps(_with("^a+$")).decode(), {"a": "b"})[0]["field"] == "task_parameters.a"
