"""Broken parameters are answered in words."""

from __future__ import annotations

import orjson
import pytest

from services.api.actions.parameters import problems
from shared.events.task_types import BUILT_IN

SCHEMAS = {one.name: orjson.dumps(one.parameters_schema).decode() for one in BUILT_IN}


@pytest.mark.parametrize(
    ("task_type", "parameters", "field", "message"),
    [
        ("health_check", {"targets": ["x"]}, "targets.0", "http://…, https://… or tcp://host:port"),
        ("health_check", {"targets": "x"}, "targets", "a list is needed"),
        ("health_check", {"timeout_seconds": 0}, "timeout_seconds", "more than 0 is needed"),
        ("analysis", {"repository_id": "x"}, "repository_id", "a whole number is needed"),
        ("analysis", {"repository_id": 0}, "repository_id", "1 or more is needed"),
        (
            "analysis",
            {"repository_id": 1, "analysis_type": "x"},
            "analysis_type",
            "one of full, security, quality is needed",
        ),
        ("analysis", {"repository_id": 1, "notification_emails": ["x"]}, "notification_emails.0", "name@example.com"),
        ("sync", {"repository_id": "x"}, "repository_id", "a whole number is needed"),
        ("export", {"format": "sarif", "report_type": "runs"}, "report_type", "one of summary, findings is needed"),
        ("batch", {"operations": []}, "operations", "at least 1 items are needed"),
        (
            "batch",
            {"operations": [{"task_type": "batch"}]},
            "operations.0.task_type",
            "a batch cannot be an operation of a batch",
        ),
        ("batch", {"operations": [{"task_type": "A b"}]}, "operations.0.task_type", "a task type's name"),
        ("webhook_delivery", {"webhook_id": 1, "event": "a b"}, "event", "such as schedule.fired"),
    ],
)
def test_built_in_types(task_type: str, parameters: dict[str, object], field: str, message: str) -> None:
    (found,) = problems(SCHEMAS[task_type], parameters)
    assert found["field"] == f"task_parameters.{field}"
    assert message in found["message"]
    assert "^" not in found["message"]


@pytest.mark.parametrize(
    ("rule", "value", "message"),
    [
        ({"const": True}, 1, "only true is possible"),
        ({"type": ["string", "null"]}, 1, "a text or null is needed"),
        ({"enum": [1, None, {"a": 1}]}, 2, 'one of 1, null, {"a":1} is needed'),
        ({"not": {"const": 1}}, 1, "it may not be 1"),
        ({"oneOf": [{"minimum": 1}, {"maximum": 9}]}, 5, "exactly one"),
        ({"pattern": "^a$"}, "b", "one that matches ^a$"),
        (False, 1, "the rule false of the task type's schema"),
        ({"dependentRequired": {"a": ["b"]}}, {"a": 1}, "the rule dependentRequired"),
    ],
)
def test_registered_types(rule: object, value: object, message: str) -> None:
    (found,) = problems(orjson.dumps({"properties": {"x": rule}}).decode(), {"x": value})
    assert message in found["message"]
