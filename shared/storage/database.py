"""The connection pool. Every service builds one Database in its wiring and hands it to the repositories.

A repository's functions take the connection of the caller's transaction: what must commit together is the caller's
decision, seen in one `with database.transaction()` block.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.pool import ConnectionPoolEntry

from shared import clock

__all__ = ["Connection", "Database", "DatabaseUnavailable"]


class DatabaseUnavailable(Exception):
    """PostgreSQL cannot be reached or has cut us off. Temporary: wait and try again."""


class Database:
    """Two pools of connections to one PostgreSQL, for transactions and single statements. Opens none before its use."""

    def __init__(
        self,
        url: str,
        *,
        application: str,
        pool_size: int = 5,
        statement_timeout_ms: int = 30_000,
        transaction_timeout_ms: int = 60_000,
        idle_in_transaction_ms: int = 30_000,
        user_timeout_ms: int = 10_000,
    ) -> None:
        # A stopped or partitioned process must not pin rows for ever: the server ends such sessions by these bounds.
        options = (
            f"-c timezone=UTC -c statement_timeout={statement_timeout_ms}"
            f" -c transaction_timeout={transaction_timeout_ms}"
            f" -c idle_in_transaction_session_timeout={idle_in_transaction_ms}"
            f" -c tcp_user_timeout={user_timeout_ms}"
        )
        self.url = url
        arguments: dict[str, Any] = {
            "pool_size": pool_size,
            "max_overflow": 0,
            "pool_timeout": 10,
            "connect_args": {
                "application_name": application,
                "options": options,
                "connect_timeout": 5,
                "tcp_user_timeout": user_timeout_ms,
                "keepalives_idle": 5,
                "keepalives_interval": 2,
                "keepalives_count": 3,
            },
        }
        self.engine = create_engine(url, **arguments)
        # Connections of their own: to switch one back and forth costs as much as a short read.
        self._statements = create_engine(url, isolation_level="AUTOCOMMIT", pool_reset_on_return=None, **arguments)
        for engine in (self.engine, self._statements):
            event.listen(engine, "checkout", _check_if_idle)
            event.listen(engine, "checkin", _remember_use)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction: committed at the end of the block, rolled back when it raises.

        Raises DatabaseUnavailable where the connection is at fault; other database errors pass as they are.
        """
        with _translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def statements(self) -> Iterator[Connection]:
        """Each statement a transaction of its own: for reads, and for work whose one write comes last.

        BEGIN and COMMIT are a round trip each, half the cost of a short read; and under READ COMMITTED every statement
        sees a state of its own anyway. Raises as `transaction` does.
        """
        with _translated(), self._statements.connect() as connection:
            yield connection

    def ping(self) -> None:
        """Raise DatabaseUnavailable unless PostgreSQL answers."""
        with self.transaction() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()
        self._statements.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except PoolExhausted as error:
        raise DatabaseUnavailable("no connection of the pool became free in time") from error
    except DBAPIError as error:
        if is_temporary(error):
            raise DatabaseUnavailable(first_line(error)) from error
        raise


_FRESH_SECONDS = 1.0
_USED = "commandcenter_used"


def _remember_use(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info[_USED] = clock.monotonic()


def _check_if_idle(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
    """Ask a pooled connection whether it still lives, unless it did so within the last second.

    SQLAlchemy's own pre-ping asks at every use, which is a tenth of a short request's cost.
    """
    used = record.info.get(_USED)
    if used is None or clock.monotonic() - used < _FRESH_SECONDS:
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.rollback()
    except psycopg2.Error as error:
        raise DisconnectionError from error  # SQLAlchemy opens another one in its place


_TEMPORARY_CLASSES = ("08", "57", "53", "40")  # connection, operator intervention, resources, deadlock/serialisation


def is_temporary(error: DBAPIError) -> bool:
    """Whether trying again may help: judged by SQLSTATE class, the one place where that is decided."""
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "pgcode", None)
    if state is None:  # the driver, not the server, reports: no connection, cut in the middle
        return type(error.orig).__name__ in {"OperationalError", "InterfaceError"}
    return str(state)[:2] in _TEMPORARY_CLASSES or str(state) in {"25P03", "25P04", "55P03"}


def first_line(error: DBAPIError) -> str:
    """The server's own sentence, without the statement and its parameters (they may hold secrets)."""
    lines = str(error.orig).strip().splitlines()
    return lines[0] if lines else type(error.orig).__name__
