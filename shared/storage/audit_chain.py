"""The hash of an audit entry, computed by its writer (shared/storage/audit.py) and again by whoever verifies it.

Each entry's hash covers its content, its place in its chain, and the hash of the entry before: changing, inserting or
removing one breaks every later link. One chain for each topic partition, so that each has one writer (DESIGN 3).
"""

import hashlib
from datetime import UTC, datetime

import orjson

BEGINNING = bytes(32)
"""What stands before the first entry of a chain."""

FIELDS = (
    "event_id", "at", "action", "actor", "address", "project_id", "schedule_id", "job_id", "attempt", "detail",
    "chain", "place",
)  # fmt: skip
"""The columns a hash covers. `recorded_at` is the database's own note and stays outside."""


def body(entry: dict[str, object]) -> bytes:
    """What is hashed of an entry (its FIELDS; `at` an aware datetime, `detail` canonical): JSON with sorted keys."""
    at = entry["at"]
    if isinstance(at, datetime) and at.tzinfo is not UTC:
        entry = {**entry, "at": at.astimezone(UTC)}
    return orjson.dumps(entry, option=orjson.OPT_SORT_KEYS)


def link(previous: bytes, body: bytes) -> bytes:
    """The hash of an entry behind the hash of the one before it."""
    return hashlib.sha256(previous + body).digest()


def canonical(value: object) -> object:
    """The one form of a JSON value that survives storage: `jsonb` gives 1e3 back as 1000."""
    if isinstance(value, dict):
        return {name: canonical(item) for name, item in value.items()}
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return _whole(int(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return _whole(value)
    return value


def _whole(value: int) -> int | str:
    """orjson writes at most 64 bits."""
    return value if -(2**63) <= value < 2**63 else str(value)
