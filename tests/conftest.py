"""Fixtures for every test: real servers, shared by the session; a database and topics of its own for each test.

Servers: embedded ones by default, containers with COMMANDCENTER_TEST_STACK=containers, or given ones by
COMMANDCENTER_TEST_DATABASE_URL (a user who may create databases) and COMMANDCENTER_TEST_KAFKA_BOOTSTRAP_SERVERS.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers import SESSION_VARIABLE, TestServers
from tests.stack import Stack
from tests.waiting import eventually as wait_eventually

_session = pytest.StashKey[TestServers]()


@pytest.hookimpl(tryfirst=True)  # before pytest decides where `tmp_path` is
def pytest_configure(config: pytest.Config) -> None:
    """The test run opens the session; its workers (and runs inside a run) join it through the environment."""
    if SESSION_VARIABLE not in os.environ:
        session = config.stash[_session] = TestServers.open_session()
        # pytest's own place is closed to other users again by every pytest that starts; a PostgreSQL that root runs as
        # another user would lose sight of its data in the middle of a test.
        config.option.basetemp = config.option.basetemp or str(session.directory / "tmp")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Reached after Ctrl-C too. Who opened the session ends its servers."""
    session = config.stash.get(_session, None)
    if session is not None:
        session.close_session()


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one module that share its stack must meet in one of the parallel workers, or each starts its own."""
    for item in items:
        if "stack" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


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
    """A fresh database with all migrations, of this test alone, for the services' role (`postgresql+psycopg2://…`)."""
    url = test_servers.create_database(migrated=True)
    yield url
    test_servers.drop_database(url)


@pytest.fixture
def owner_url(test_servers: TestServers, database_url: str) -> str:
    """The same database for the owner of its tables: the services' role can neither drop nor alter one."""
    return test_servers.owner_url(database_url)


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


@pytest.fixture(scope="module")
def stack(test_servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The four services on the session's servers, with a database and topics of this module alone. Ready in seconds.

    For tests that leave the servers alone; killing services is fine, they come back.
    """
    url = test_servers.create_database(migrated=True)
    environment = {
        "COMMANDCENTER_DATABASE_URL": url,
        "COMMANDCENTER_MIGRATIONS_DATABASE_URL": test_servers.owner_url(url),
        "COMMANDCENTER_KAFKA_BOOTSTRAP_SERVERS": test_servers.kafka(),
        "COMMANDCENTER_TOPIC_PREFIX": f"stack{uuid.uuid4().hex[:8]}.",
    }
    with Stack(tmp_path_factory.mktemp("stack"), environment) as running:
        yield running
    test_servers.drop_database(url)


@pytest.fixture
def private_stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack with a Kafka and a PostgreSQL of its own, not started yet, for tests that kill or cut those."""
    own = Stack(tmp_path / "home")
    try:
        yield own
    finally:
        own.stop()


@pytest.fixture
def eventually() -> Callable[..., object]:
    """`eventually(condition, timeout)`: poll until true. The same as `tests.waiting.eventually`."""
    return wait_eventually
