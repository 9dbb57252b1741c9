"""Reading who leads (table leases). Called by the api."""

from typing import Any

from sqlalchemy import Connection, Row, text

_LEASE = text(
    "SELECT CASE WHEN expires_at > clock_timestamp() THEN holder END AS leader, epoch,"
    " CASE WHEN expires_at > clock_timestamp() THEN acquired_at END AS since FROM leases WHERE name = :name"
)


def lease(connection: Connection, name: str) -> Row[Any] | None:
    """`leader` and `since` (None while nobody holds it) and `epoch`; None where nobody has ever looked for it."""
    return connection.execute(_LEASE, {"name": name}).one_or_none()
