"""What the health tests are given: a database of their own, for plain SQL and as the services open it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared.storage.database import Database
from tests.integration.health.support import Rows


@pytest.fixture
def rows(database_url: str) -> Iterator[Rows]:
    opened = Rows(database_url)
    yield opened
    opened.close()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url, application="test")
    yield opened
    opened.close()
