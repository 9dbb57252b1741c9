"""A dispatcher's database, topics and processes, of each test alone, and the other services beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dispatching import Dispatchers, Ledger
from tests.dispatching import dispatchers as open_dispatchers
from tests.services import Services


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    """The test's own connection."""
    made = Ledger(database_url)
    yield made
    made.close()


@pytest.fixture
def dispatchers(database_url: str, kafka_server: str, topic_prefix: str, tmp_path: Path) -> Iterator[Dispatchers]:
    """Starts dispatchers; all are ended with the test."""
    with open_dispatchers(database_url, kafka_server, topic_prefix, tmp_path) as made:
        yield made


@pytest.fixture
def services(dispatchers: Dispatchers, tmp_path: Path) -> Iterator[Services]:
    """Starts api, worker and health; all are ended with the test."""
    made = Services(dispatchers, tmp_path)
    try:
        yield made
    finally:
        made.stop()
