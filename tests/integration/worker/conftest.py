"""The worker's fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.worker.bench_of_runs import Runs, runs_on


@pytest.fixture
def runs(kafka_server: str, topic_prefix: str, database_url: str, tmp_path: Path) -> Iterator[Runs]:
    """A system of this test alone, as its worker sees it; start workers with `runs.worker()`."""
    with runs_on(kafka_server, topic_prefix, database_url, tmp_path) as system:
        yield system
