"""The OpenAPI document: complete enough for strangers, and true under generated requests."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from services.api import openapi
from services.api.pages import render
from tests.integration.api.support import running_api

DOCUMENT: dict[str, Any] = json.loads(openapi.COMMITTED.read_text(encoding="utf-8"))
OPERATIONS = [
    (path, method, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
]


def test_the_committed_document_is_what_is_served() -> None:
    assert openapi.drift() == []


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS, ids=lambda value: str(value)[:40])
def test_every_operation_is_described(path: str, method: str, operation: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-z][A-Za-z]+", operation["operationId"])
    assert len(operation["tags"]) == 1
    assert operation["summary"]
    assert operation["description"]
    responses = operation["responses"]
    assert {"401", "403", "422", "429", "503"} <= set(responses)
    if "{" in path and "{name}" not in path:
        assert "404" in responses
    for status, response in responses.items():
        assert response["description"]
        if status.startswith(("4", "5")):
            assert list(response["content"]) == ["application/problem+json"]
    for parameter in operation.get("parameters", ()):
        assert parameter.get("description") or parameter["in"] == "path", parameter


def test_operation_ids_are_unique() -> None:
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(names) == len(set(names))


def test_every_schema_that_is_sent_or_answered_has_an_example_that_fits_it() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    sent = set(
        re.findall(
            r"#/components/schemas/(\w+)",
            json.dumps([list(methods.values()) for methods in DOCUMENT["paths"].values()]),
        )
    )
    for name in sent - {"Problem"}:
        assert schemas[name].get("examples"), f"{name} needs an example in services/api/examples.py"
    for name, schema in schemas.items():
        for example in schema.get("examples", ()):
            validator = Draft202012Validator(
                {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
            )
            assert not [error.message for error in validator.iter_errors(example)], name


def test_every_error_has_an_example_of_its_status() -> None:
    problem = {"$ref": "#/components/schemas/Problem", "components": DOCUMENT["components"]}
    for _, _, operation in OPERATIONS:
        for status, response in operation["responses"].items():
            if status.startswith(("4", "5")):
                example = response["content"]["application/problem+json"]["example"]
                assert str(example["status"]) == status
                assert not list(Draft202012Validator(problem).iter_errors(example))


def test_the_page_for_people_names_everything_and_needs_nothing_from_elsewhere() -> None:
    page = render(DOCUMENT)
    for _, _, operation in OPERATIONS:
        assert f'id="{operation["operationId"]}"' in page
    assert "<script" not in page
    assert all(link.startswith(("#", "/")) for link in re.findall(r"(?:src|href)=[\"']([^\"']*)", page))


def test_names_are_a_strangers() -> None:
    for name in DOCUMENT["components"]["schemas"]:
        assert re.fullmatch(r"[A-Z][A-Za-z]+", name)
        assert not name.endswith(("Shape", "Body"))


def _schemathesis(url: str, seconds: int, workers: int, seed: int = 0) -> int:
    """Generated requests for so long, links followed; how many there were. A finding fails the test."""
    result = subprocess.run(
        [
            *(Path(sys.executable).with_name("schemathesis"), "--config-file"),
            *(Path(__file__).with_name("schemathesis.toml"), "run", f"{url}/openapi.json", "--checks", "all"),
            *("--max-time", str(seconds), "--workers", str(workers), "--continue-on-failure", "--no-color"),
            *("--generation-database", ":memory:", "--seed", str(seed)),
        ],
        env=os.environ | {"SCHEMATHESIS_HOOKS": str(Path(__file__).with_name("fresh_keys.py"))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-1000:]
    found = re.search(r"(\d+) generated", result.stdout)
    assert found is not None, result.stdout[-2000:]
    return int(found.group(1))


def test_generated_requests_find_nothing(database_url: str, tmp_path: Path) -> None:
    with running_api(tmp_path, database_url, COMMANDCENTER_LOG_LEVEL="WARNING") as api:
        _schemathesis(api.url, 20, 1)


@pytest.mark.slow
def test_five_thousand_generated_requests_find_nothing(database_url: str, tmp_path: Path) -> None:
    """`make test-api`. Other requests every time it is run; the seed of a finding is in its report."""
    first, generated = secrets.randbelow(1_000_000), 0
    with running_api(tmp_path, database_url, COMMANDCENTER_LOG_LEVEL="WARNING") as api:
        for seed in range(first, first + 20):
            generated += _schemathesis(api.url, 100, 2, seed)
            if generated >= 5_000:
                break
    print(f"{generated} generated requests, seeds {first} to {seed}")
    assert generated >= 5_000
