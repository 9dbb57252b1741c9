"""What each repository's mirror held when it was last synced (table mirrors). Written and read by the worker's sync.

The mirror itself lies in a worker's home. What was seen lies here, so that "new since last time" means the same on
every worker, and after a mirror was lost.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import orjson
from sqlalchemy import Connection, text

_GET = text("SELECT url, branches, previous, job_id FROM mirrors WHERE repository_id = :repository_id")
_SAVE = text(
    "INSERT INTO mirrors (repository_id, url, branches, previous, size_bytes, job_id, synced_at)"
    " VALUES (:repository_id, :url, CAST(:branches AS jsonb), CAST(:previous AS jsonb), :size_bytes, :job_id,"
    " :synced_at)"
    " ON CONFLICT (repository_id) DO UPDATE SET url = excluded.url, branches = excluded.branches,"
    " previous = excluded.previous, size_bytes = excluded.size_bytes, job_id = excluded.job_id,"
    " synced_at = excluded.synced_at"
)

Branches = Mapping[str, str]
"""Branch names and their commits' ids."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the last successful sync saw. `previous` is what the job before it had seen, None: there was none."""

    url: str
    branches: Branches
    previous: Branches | None
    job_id: int

    def baseline(self, url: str, job_id: int) -> Branches | None:
        """What a job compares with; None where all is new. A retry compares with what its first attempt did."""
        if url != self.url:
            return None
        return self.previous if job_id == self.job_id else self.branches


@dataclass(frozen=True, slots=True)
class Synced:
    """A successful sync. `previous` is what it was compared with."""

    repository_id: int
    url: str
    branches: Branches
    previous: Branches | None
    size_bytes: int
    job_id: int
    synced_at: datetime


def seen(connection: Connection, repository_id: int) -> Seen | None:
    """What was seen of a repository; None before its first sync."""
    row = connection.execute(_GET, {"repository_id": repository_id}).one_or_none()
    return None if row is None else Seen(row.url, row.branches, row.previous, row.job_id)


def save(connection: Connection, synced: Synced) -> None:
    """Remember what a sync saw."""
    values = {name: getattr(synced, name) for name in Synced.__slots__}
    values["branches"] = orjson.dumps(dict(synced.branches)).decode()
    values["previous"] = None if synced.previous is None else orjson.dumps(dict(synced.previous)).decode()
    connection.execute(_SAVE, values)
