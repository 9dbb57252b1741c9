"""One long-lived connection with its own transactions, for the dispatcher's loops.

The tick, the relay and the lease each hold one: a pool's checks and SQLAlchemy's layers would cost more than their
statements, and a loop must know when its connection is cut. Statements are sent as they are (several to a round trip
where that saves one), BEGIN and COMMIT included.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as Psycopg2Connection  # noqa: N812

from shared.storage.database import DatabaseUnavailable

TEMPORARY_CLASSES = frozenset({"08", "57", "53", "40"})
"""SQLSTATE classes after which a repeat may help: connection, operator intervention, resources, deadlock."""
TEMPORARY_STATES = frozenset({"25P03", "25P04", "55P03"})
"""Idle-in-transaction timeout, transaction timeout, lock not available."""


_PLACE = re.compile(r"%\((\w+)\)s")


class StatementRefused(Exception):
    """PostgreSQL refuses this statement with these values. Permanent: a repeat will be refused again."""

    def __init__(self, sentence: str, sqlstate: str) -> None:
        super().__init__(sentence)
        self.sqlstate = sqlstate


class Session:
    """A connection that is opened at first use and again after it was cut.

    The timeouts bound how long a stopped or partitioned process can pin rows: PostgreSQL ends its session.
    """

    def __init__(
        self,
        url: str,
        application: str,
        *,
        statement_timeout_ms: int,
        transaction_timeout_ms: int,
        idle_in_transaction_ms: int,
        user_timeout_ms: int,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        options = {
            "timezone": "UTC",
            "statement_timeout": str(statement_timeout_ms),
            "transaction_timeout": str(transaction_timeout_ms),
            "idle_in_transaction_session_timeout": str(idle_in_transaction_ms),
            "tcp_user_timeout": str(user_timeout_ms),
            **(settings or {}),
        }
        self._arguments: dict[str, Any] = {
            "dsn": url.replace("+psycopg2", "", 1),
            "application_name": application,
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
            "connect_timeout": 2,
            "tcp_user_timeout": user_timeout_ms,
            "keepalives_idle": 2,
            "keepalives_interval": 1,
            "keepalives_count": 2,
        }
        self._connection: Psycopg2Connection | None = None
        self._prepared: dict[str, str] = {}

    def execute(self, statement: str, values: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        """Run one or several statements; returns the last one's rows.

        Raises DatabaseUnavailable (the connection is closed; the next call opens a new one) or StatementRefused (an
        open transaction can then only be rolled back, in whole or to a savepoint).
        """
        try:
            connection = self._connection or self._open()
            with connection.cursor() as cursor:
                cursor.execute(statement, values)
                return cursor.fetchall() if cursor.description else []
        except psycopg2.Error as error:
            raise self._translate(error) from error

    def prepared(self, statement: str, values: Mapping[str, object], *, first: str = "") -> list[tuple[Any, ...]]:
        """The same for one statement that is planned once a connection: planning over partitions costs milliseconds.

        Every place of a value must tell its type, by its context or a cast. `first`: a statement that runs before it
        in the same round trip, such as BEGIN.
        """
        if self._connection is None:
            self._prepared.clear()
        known = self._prepared.get(statement)
        if known is None:
            names: list[str] = []
            numbered = _PLACE.sub(lambda place: f"${_number(names, place[1])}", statement).replace("%%", "%")
            name = f"s{len(self._prepared)}"
            self.execute(f"PREPARE {name} AS {numbered.replace('%', '%%')}", {})
            arguments = ", ".join(f"%({one})s" for one in names)
            known = self._prepared[statement] = f"EXECUTE {name} ({arguments})" if names else f"EXECUTE {name}"
        return self.execute(f"{first}; {known}" if first else known, values)

    def rollback(self) -> None:
        """End an open transaction without a trace; harmless where there is none."""
        if self._connection is not None and self._connection.info.transaction_status != TRANSACTION_STATUS_IDLE:
            self.execute("ROLLBACK")

    def fileno(self) -> int:
        """The socket, for select(); opens the connection."""
        try:
            connection = self._connection or self._open()
        except psycopg2.Error as error:
            raise self._translate(error) from error
        return connection.fileno()

    def notifications(self) -> set[tuple[str, str]]:
        """What was notified since the last call: channel and payload."""
        try:
            connection = self._connection or self._open()
            connection.poll()
        except psycopg2.Error as error:
            raise self._translate(error) from error
        told = {(notification.channel, notification.payload) for notification in connection.notifies}
        connection.notifies.clear()
        return told

    @property
    def connected(self) -> bool:
        """Whether the connection is open, as far as this side knows."""
        return self._connection is not None

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back by the server."""
        connection, self._connection = self._connection, None
        self._prepared.clear()
        if connection is not None:
            try:
                connection.close()
            except psycopg2.Error:
                return  # it was cut already: closed is what was wanted

    def _open(self) -> Psycopg2Connection:
        connection: Psycopg2Connection = psycopg2.connect(**self._arguments)
        connection.autocommit = True  # BEGIN and COMMIT are ours
        self._connection = connection
        return connection

    def _translate(self, error: psycopg2.Error) -> Exception:
        state = error.pgcode
        lines = str(error).strip().splitlines()
        sentence = lines[0] if lines else type(error).__name__
        if state is None or state[:2] in TEMPORARY_CLASSES or state in TEMPORARY_STATES:
            self.close()
            return DatabaseUnavailable(sentence)
        return StatementRefused(sentence, state)


def array(values: Iterable[object]) -> str:
    """The text of a PostgreSQL array of numbers, words without special signs, or NULL: cheaper than list adaptation."""
    return "{" + ",".join(map(str, values)) + "}"


def _number(names: list[str], name: str) -> int:
    """The number of a place: the same for the same name."""
    if name not in names:
        names.append(name)
    return names.index(name) + 1
