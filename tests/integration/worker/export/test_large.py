"""A hundred thousand rows through a process that must stay small."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.local.settings import PROJECT_ROOT
from tests.integration.worker.export.world import World, finding
from tests.servers import TestServers

ROWS = 100_000
MOST_MIB = 200


@pytest.fixture(scope="module")
def large(test_servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    url = test_servers.create_database(migrated=True)
    world = World(url, tmp_path_factory.mktemp("large"))
    world.many_jobs(world.schedule("every second"), ROWS)
    world.analysis(world.repository("large"), [finding("B101", line) for line in range(ROWS)])
    yield world
    world.close()
    test_servers.drop_database(url)


def measured(world: World, form: str, report_type: str) -> tuple[dict[str, Any], float]:
    """The result, and the peak of the process in MiB."""
    parameters = json.dumps({"format": form, "report_type": report_type})
    told = subprocess.run(
        [sys.executable, "-m", "tests.integration.worker.export.peak", world.database_url, str(world.home), parameters],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(told.stdout)
    return found["result"], found["peak_mib"]


@pytest.mark.parametrize(
    ("form", "report_type"),
    [
        ("csv", "runs"),
        ("json", "findings"),
        ("sarif", "findings"),
        *(pytest.param(form, "runs", marks=pytest.mark.slow) for form in ("xlsx", "html", "pdf", "markdown")),
        *(pytest.param(form, "findings", marks=pytest.mark.slow) for form in ("xlsx", "pdf")),
    ],
)
def test_memory_does_not_follow_the_rows(large: World, form: str, report_type: str) -> None:
    result, peak_mib = measured(large, form, report_type)
    assert result["rows"] >= ROWS
    assert peak_mib < MOST_MIB
