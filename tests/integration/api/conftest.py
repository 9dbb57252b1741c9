"""A real api process on a database of its own, shared by the tests of one worker; and one with API keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.api.support import Api, running_api
from tests.servers import TestServers

ADMIN_KEY = "the-admin-key-of-the-tests-0123456789"


@pytest.fixture(scope="session")
def api(test_servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Without access control, as the local stack runs it."""
    yield from _api(test_servers, tmp_path_factory.mktemp("api"))


@pytest.fixture(scope="session")
def guarded_api(test_servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """With API keys; `client` carries the admin's."""
    environment = {"COMMANDCENTER_AUTH": "keys", "COMMANDCENTER_ADMIN_KEY": ADMIN_KEY}
    for api in _api(test_servers, tmp_path_factory.mktemp("guarded"), **environment):
        api.client.headers["Authorization"] = f"Bearer {ADMIN_KEY}"
        yield api


def _api(servers: TestServers, home: Path, **environment: str) -> Iterator[Api]:
    database_url = servers.create_database(migrated=True)
    try:
        with running_api(home, database_url, **environment) as api:
            yield api
    finally:
        servers.drop_database(database_url)
