"""The rows that runs are about, read by the worker: jobs by id, repositories, webhooks."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What identifies a job in events."""

    job_id: int
    attempt: int
    schedule_id: int
    project_id: int
    task_type: str
    scheduled_for: datetime


@dataclass(frozen=True, slots=True)
class Repository:
    """A registered repository."""

    repository_id: int
    project_id: int
    name: str
    url: str
    default_branch: str | None


_JOB = text(
    "SELECT id, attempt, schedule_id, project_id, task_type, scheduled_for FROM jobs"
    " WHERE id = :job_id AND status IN ('queued', 'running', 'retrying')"
)
_REPOSITORY = text(
    "SELECT id, project_id, name, url, default_branch FROM repositories WHERE id = :id AND deleted_at IS NULL"
)
_REPOSITORIES = text(
    "SELECT id, project_id, name, url, default_branch FROM repositories"
    " WHERE project_id = :project_id AND deleted_at IS NULL ORDER BY id"
)
# By schedule, manual runs on their own: so the two partial indexes of jobs find it, in each partition, newest first.
_PREVIOUS_ANALYSIS = text(
    "WITH candidates AS (SELECT CAST(:schedule_id AS bigint) AS schedule_id UNION SELECT id FROM schedules"
    " WHERE project_id = :project_id AND task_type = 'analysis'"
    " AND task_parameters ->> 'repository_id' = CAST(:repository_id AS text))"
    " SELECT found.* FROM candidates CROSS JOIN LATERAL ("
    "(SELECT id, attempt, schedule_id, project_id, task_type, scheduled_for FROM jobs"
    " WHERE schedule_id = candidates.schedule_id AND trigger <> 'manual'"
    " AND id <> :job_id AND status = 'succeeded' AND task_type = 'analysis'"
    " AND CAST(result ->> 'repository_id' AS bigint) = :repository_id AND result ->> 'analysis_type' = :analysis_type"
    " ORDER BY scheduled_for DESC LIMIT 1)"
    " UNION ALL "
    "(SELECT id, attempt, schedule_id, project_id, task_type, scheduled_for FROM jobs"
    " WHERE schedule_id = candidates.schedule_id AND trigger = 'manual'"
    " AND id <> :job_id AND status = 'succeeded' AND task_type = 'analysis'"
    " AND CAST(result ->> 'repository_id' AS bigint) = :repository_id AND result ->> 'analysis_type' = :analysis_type"
    " ORDER BY scheduled_for DESC LIMIT 1)"
    ") found ORDER BY found.scheduled_for DESC LIMIT 1"
)
_LEASE_HOLDER = text("SELECT holder FROM leases WHERE name = :name AND expires_at > clock_timestamp()")


def lease_holder(connection: Connection, name: str) -> str | None:
    """Who holds a lease that has not expired."""
    row = connection.execute(_LEASE_HOLDER, {"name": name}).first()
    return None if row is None else str(row.holder)


def open_job(connection: Connection, job_id: int) -> JobFacts | None:
    """A job that has not ended, by its id alone."""
    row = connection.execute(_JOB, {"job_id": job_id}).first()
    return None if row is None else JobFacts(*row)


def repository(connection: Connection, repository_id: int) -> Repository | None:
    """A repository that has not been deleted."""
    row = connection.execute(_REPOSITORY, {"id": repository_id}).first()
    return None if row is None else Repository(*row)


def repositories(connection: Connection, project_id: int) -> list[Repository]:
    """Every repository of a project."""
    return [Repository(*row) for row in connection.execute(_REPOSITORIES, {"project_id": project_id})]


def previous_analysis(
    connection: Connection, project_id: int, schedule_id: int, job_id: int, repository_id: int, analysis_type: str
) -> JobFacts | None:
    """The last successful analysis of that kind: this schedule's, or one of any schedule for that repository."""
    values = {
        "project_id": project_id,
        "schedule_id": schedule_id,
        "job_id": job_id,
        "repository_id": repository_id,
        "analysis_type": analysis_type,
    }
    row = connection.execute(_PREVIOUS_ANALYSIS, values).first()
    return None if row is None else JobFacts(*row)
