"""A dispatcher's database, topics and processes, of each test alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.storage import dispatch
from shared.storage.session import Session
from tests.dispatching import Dispatchers, Ledger
from tests.dispatching import dispatchers as open_dispatchers


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
def session(database_url: str) -> Iterator[Session]:
    """As the tick's."""
    made = Session(
        database_url,
        "test",
        statement_timeout_ms=20_000,
        transaction_timeout_ms=20_000,
        idle_in_transaction_ms=20_000,
        user_timeout_ms=5_000,
        settings=dispatch.PINNED,
    )
    yield made
    made.close()
