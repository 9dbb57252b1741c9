"""Outcomes of jobs: the health service locks the jobs of a batch of events, judges, and writes them back at once.

The rules are shared/domain/job.py's; this module only reads and writes. Every statement names the jobs' partition key,
so that a batch touches the partitions of its own days (DESIGN section 3).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from shared.domain.job import JobStatus
from shared.storage.database import Database, DatabaseUnavailable, first_line


class Unwritable(Exception):
    """The database refuses what is in a batch: a value out of range, a constraint. Permanent for that content."""


@dataclass(slots=True)
class JobRow:
    """What judging needs of a stored job. `schedule_id` and `project_id` are the truth, whatever an event says."""

    id: int
    scheduled_for: datetime
    schedule_id: int
    project_id: int
    task_type: str
    status: JobStatus
    attempt: int
    max_attempts: int


@dataclass(slots=True)
class Outcome:
    """A job's new state. None leaves the stored value, but for `next_attempt_at`, and what another attempt has left."""

    job_id: int
    scheduled_for: datetime
    status: JobStatus
    attempt: int
    reason: str | None = None
    error: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    next_attempt_at: datetime | None = None
    result: Mapping[str, Any] | None = None
    artifacts: Sequence[Mapping[str, Any]] | None = None


_STATUSES = {str(status): status for status in JobStatus}
# Statistics of fresh partitions lag: a nested loop over the primary key is right for a thousand keys, always.
_PLAN = text("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL enable_seqscan = off")
_LOCK = text(
    "SELECT j.id, j.scheduled_for, j.schedule_id, j.project_id, j.task_type, j.status, j.attempt, j.max_attempts"
    " FROM json_to_recordset(CAST(:keys AS json)) AS k (id bigint, scheduled_for timestamptz)"
    " JOIN jobs j ON j.id = k.id AND j.scheduled_for = k.scheduled_for"
    " WHERE j.scheduled_for BETWEEN :first AND :last ORDER BY j.id, j.scheduled_for FOR UPDATE OF j"
)
_APPLY = text(
    "UPDATE jobs j SET status = o.status, attempt = o.attempt,"
    " reason = CASE WHEN o.status = 'succeeded' THEN NULL ELSE coalesce(o.reason, j.reason) END,"
    " error = CASE WHEN o.status = 'succeeded' THEN NULL ELSE coalesce(o.error, j.error) END,"
    " started_at = coalesce(o.started_at, j.started_at), finished_at = coalesce(o.finished_at, j.finished_at),"
    " next_attempt_at = o.next_attempt_at,"
    # What an attempt has left is its own: its files lie under its number, a later one has others or none.
    " result = CASE WHEN j.status = 'retrying' AND o.attempt = j.attempt THEN j.result ELSE o.result END,"
    " artifacts = CASE WHEN j.status = 'retrying' AND o.attempt = j.attempt THEN j.artifacts ELSE o.artifacts END"
    " FROM json_to_recordset(CAST(:outcomes AS json)) AS o (job_id bigint, scheduled_for timestamptz, status text,"
    " attempt smallint, reason text, error text, started_at timestamptz, finished_at timestamptz,"
    " next_attempt_at timestamptz, result jsonb, artifacts jsonb)"
    " WHERE j.id = o.job_id AND j.scheduled_for = o.scheduled_for AND j.scheduled_for BETWEEN :first AND :last"
)


@contextmanager
def recording(database: Database) -> Iterator[Connection]:
    """A transaction for a batch of events.

    Raises Unwritable when the content is at fault (SQLSTATE classes 22 and 23), DatabaseUnavailable for all else: a
    missing table or a full disk is no reason to throw events away.
    """
    try:
        with database.transaction() as connection:
            connection.execute(_PLAN)
            yield connection
    except (DataError, IntegrityError) as error:
        raise Unwritable(first_line(error)) from error
    except DBAPIError as error:
        raise DatabaseUnavailable(first_line(error)) from error


def lock_jobs(connection: Connection, keys: Sequence[tuple[int, datetime]]) -> dict[int, JobRow]:
    """Lock these jobs (id, scheduled_for) in primary-key order and return the ones that exist, by id."""
    if not keys:
        return {}
    instants = [scheduled_for for _, scheduled_for in keys]
    document = orjson.dumps([{"id": job_id, "scheduled_for": at} for job_id, at in keys]).decode()
    rows = connection.execute(_LOCK, {"keys": document, "first": min(instants), "last": max(instants)})
    return {
        job_id: JobRow(job_id, at, schedule_id, project_id, task_type, _STATUSES[status], attempt, most)
        for job_id, at, schedule_id, project_id, task_type, status, attempt, most in rows
    }


def apply(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    """Write the new states of locked jobs, one outcome a job."""
    if not outcomes:
        return
    instants = [outcome.scheduled_for for outcome in outcomes]
    document = orjson.dumps(list(outcomes)).decode()
    connection.execute(_APPLY, {"outcomes": document, "first": min(instants), "last": max(instants)})
