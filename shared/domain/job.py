"""A job's life: its statuses, the one table of allowed transitions, and the reasons an end can have.

Every room that moves a job asks `transition`; storage statements take their allowed source statuses from `sources`,
so the SQL and this table cannot drift apart. The drawing is in docs/job-states.md.
"""

from enum import StrEnum


class JobStatus(StrEnum):
    """Where a job stands (DESIGN section 5)."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class Trigger(StrEnum):
    """Why a job exists."""

    SCHEDULE = "schedule"
    CATCHUP = "catchup"
    MANUAL = "manual"


class SkipReason(StrEnum):
    """Why an occurrence was deliberately not run."""

    OVERLAP = "overlap"
    CATCHUP = "catchup"
    DEADLINE = "deadline"
    EDITED = "edited"
    DISABLED = "disabled"
    DELETED = "deleted"
    UNWRITABLE = "unwritable"


class FailureReason(StrEnum):
    """Why an attempt or a job failed or was cancelled, for machines; `error` says it for people."""

    ERROR = "error"
    TIMEOUT = "timeout"
    WORKER_LOST = "worker_lost"
    NEVER_STARTED = "never_started"
    RESULT_LOST = "result_lost"
    NO_HANDLER = "no_handler"
    INVALID_PARAMETERS = "invalid_parameters"
    DEAD_LETTERED = "dead_lettered"
    CANCELLED_BY_USER = "cancelled_by_user"
    SCHEDULE_DELETED = "schedule_deleted"
    REPLACED = "replaced"
    CRASHED = "crashed"


TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    # An end may overtake `run.started`, and an unstarted job can be cancelled, lost or never started.
    JobStatus.QUEUED: frozenset(
        {JobStatus.RUNNING, JobStatus.RETRYING, JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED}
    ),
    JobStatus.RUNNING: frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.RETRYING}),
    JobStatus.RETRYING: frozenset({JobStatus.QUEUED, JobStatus.CANCELLED, JobStatus.FAILED}),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
    JobStatus.SKIPPED: frozenset(),
}

OPEN = frozenset({JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.RETRYING})
ENDED = frozenset(JobStatus) - OPEN


class ForbiddenTransition(Exception):
    """A job cannot move from one status to the other."""

    def __init__(self, source: JobStatus, target: JobStatus) -> None:
        super().__init__(f"a {source} job cannot become {target}")
        self.source = source
        self.target = target


def transition(source: JobStatus, target: JobStatus) -> JobStatus:
    """Return `target`, or raise ForbiddenTransition."""
    if target not in TRANSITIONS[source]:
        raise ForbiddenTransition(source, target)
    return target


def sources(target: JobStatus) -> frozenset[JobStatus]:
    """The statuses from which `target` may be reached."""
    return frozenset(source for source, targets in TRANSITIONS.items() if target in targets)
