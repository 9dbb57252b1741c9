"""The OpenAPI document: complete enough for strangers, and true under generated requests."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.api import openapi
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


def _schemathesis(url: str, seconds: int, workers: int) -> str:
    result = subprocess.run(
        [
            *(Path(sys.executable).with_name("schemathesis"), "--config-file"),
            *(Path(__file__).with_name("schemathesis.toml"), "run", f"{url}/openapi.json", "--checks", "all"),
            *("--max-time", str(seconds), "--workers", str(workers), "--continue-on-failure", "--no-color"),
            *("--generation-database", ":memory:"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-1000:]
    return result.stdout


def test_generated_requests_find_nothing(database_url: str, tmp_path: Path) -> None:
    with running_api(tmp_path, database_url, COMMANDCENTER_LOG_LEVEL="WARNING") as api:
        _schemathesis(api.url, 20, 1)


@pytest.mark.slow
def test_five_thousand_generated_requests_find_nothing(database_url: str, tmp_path: Path) -> None:
    with running_api(tmp_path, database_url, COMMANDCENTER_LOG_LEVEL="WARNING") as api:
        output = _schemathesis(api.url, 240, 2)
    found = re.search(r"(\d+) generated", output)
    assert found is not None
    assert int(found.group(1)) >= 5_000
