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
)  # fmt: skip
"""The columns a hash covers. `recorded_at` is the database's own note and stays outside."""


def link(previous: bytes, chain: str, place: int, entry: dict[str, object]) -> bytes:
    """The hash of an entry (its FIELDS; `at` an aware datetime, `detail` JSON) behind `previous`.

    Canonical JSON with sorted keys. Whole numbers lose their decimal point: `jsonb` gives 1e3 back as 1000.
    """
    content = {field: canonical(entry[field]) for field in FIELDS}
    body = orjson.dumps({"chain": chain, "place": place, **content}, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(previous + body).digest()


def canonical(value: object) -> object:
    """The one form of a JSON value that survives storage."""
    if isinstance(value, dict):
        return {name: canonical(item) for name, item in value.items()}
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, float) and value.is_integer():
        return _whole(int(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return _whole(value)
    return value


def _whole(value: int) -> int | str:
    """orjson writes at most 64 bits."""
    return value if -(2**63) <= value < 2**63 else str(value)
