"""Fixtures for every test: real servers, shared by the session; a database and topics of its own for each test.

Servers: embedded ones by default, containers with COMMANDCENTER_TEST_STACK=containers, or given ones by
COMMANDCENTER_TEST_DATABASE_URL (a user who may create databases) and COMMANDCENTER_TEST_KAFKA_BOOTSTRAP_SERVERS.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from tests.servers import SESSION_VARIABLE, TestServers

_session = pytest.StashKey[TestServers]()


def pytest_configure(config: pytest.Config) -> None:
    """The test run opens the session; its workers (and runs inside a run) join it through the environment."""
    if SESSION_VARIABLE not in os.environ:
        config.stash[_session] = TestServers.open_session()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Reached after Ctrl-C too. Who opened the session ends its servers."""
    session = config.stash.get(_session, None)
    if session is not None:
        session.close_session()


@pytest.fixture(scope="session")
def test_servers() -> TestServers:
    """The servers of this session; nothing is started until one is asked for."""
    return TestServers.join_session()


@pytest.fixture(scope="session")
def postgres_server(test_servers: TestServers) -> str:
    """A real PostgreSQL: the URL of a user who may create databases, in libpq's form."""
    return test_servers.postgres()["admin_url"]


@pytest.fixture(scope="session")
def kafka_server(test_servers: TestServers) -> str:
    """A real Kafka: its bootstrap servers. Shared by all tests: use `topic_prefix`."""
    return test_servers.kafka()


@pytest.fixture
def database_url(test_servers: TestServers) -> Iterator[str]:
    """A fresh database with all migrations, of this test alone (`postgresql+psycopg2://…`)."""
    url = test_servers.create_database(migrated=True)
    yield url
    test_servers.drop_database(url)


@pytest.fixture
def empty_database_url(test_servers: TestServers) -> Iterator[str]:
    """A fresh database without any table, for the migrations themselves."""
    url = test_servers.create_database(migrated=False)
    yield url
    test_servers.drop_database(url)


@pytest.fixture
def topic_prefix() -> str:
    """A prefix for the topics and groups of this test alone, for COMMANDCENTER_TOPIC_PREFIX."""
    return f"test{uuid.uuid4().hex[:8]}."
