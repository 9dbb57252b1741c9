"""How far each batch has come (table batch_progress). The worker's batch task alone writes it; retention empties it.

A table and not the artifact store, because one row must be durable before the next operation begins, also where the
store is a bucket; and because people can look into it while a batch runs.
"""

from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Ended:
    """An operation that has ended in some attempt of the job."""

    place: int
    """From 1."""
    attempt: int
    status: str
    permanent: bool
    """Of a failure: trying again cannot help."""
    duration_seconds: float
    result: dict[str, Any] | None = None
    error: str | None = None
    reason: str | None = None
    artifacts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_final(self) -> bool:
        """No later attempt of the job runs it again."""
        return self.status == "succeeded" or self.permanent


_READ = text(
    "SELECT place, attempt, status, permanent, duration_seconds, result, error, reason, artifacts"
    " FROM batch_progress WHERE job_id = :job_id ORDER BY place"
)
# What has succeeded stays so, whatever a lost worker that comes back may say.
_RECORD = text(
    "INSERT INTO batch_progress AS p"
    " (job_id, place, attempt, status, permanent, duration_seconds, result, error, reason, artifacts)"
    " VALUES (:job_id, :place, :attempt, :status, :permanent, :duration_seconds, CAST(:result AS jsonb), :error,"
    " :reason, CAST(:artifacts AS jsonb))"
    " ON CONFLICT (job_id, place) DO UPDATE SET attempt = excluded.attempt, status = excluded.status,"
    " permanent = excluded.permanent, duration_seconds = excluded.duration_seconds, result = excluded.result,"
    " error = excluded.error, reason = excluded.reason, artifacts = excluded.artifacts, ended_at = clock_timestamp()"
    " WHERE p.status = 'failed' AND p.attempt <= excluded.attempt"
)


def read(connection: Connection, job_id: int) -> dict[int, Ended]:
    """The job's ended operations by place."""
    return {row.place: Ended(**row._mapping) for row in connection.execute(_READ, {"job_id": job_id})}


def record(connection: Connection, job_id: int, ended: Ended) -> None:
    """Note an end, before the next operation begins."""
    connection.execute(
        _RECORD,
        {
            "job_id": job_id,
            "place": ended.place,
            "attempt": ended.attempt,
            "status": ended.status,
            "permanent": ended.permanent,
            "duration_seconds": ended.duration_seconds,
            "result": _json(ended.result),
            "error": None if ended.error is None else ended.error.replace("\0", ""),
            "reason": ended.reason,
            "artifacts": _json(ended.artifacts),
        },
    )


def _json(value: object) -> str:
    # PostgreSQL's jsonb holds no NUL.
    return orjson.dumps(value, default=str).decode().replace("\\u0000", "")
