"""sync: keeps a mirror of a repository, or of all of a project's, and tells what is new since the last time.

The worker's registry finds it here; it runs in a process of its own. Every repository has its own outcome: one that
cannot be reached does not keep the others from being synced, and the run then fails with all outcomes in its result. A
retry tells the same news again, since it compares with what the job's first attempt compared with.
"""

from typing import Any

from services.worker.task import PermanentError, TaskContext, TemporaryError, task
from services.worker.tasks.sync_mirror import Mirror
from services.worker.tasks.sync_report import LISTED, Outcome, complaint, report
from shared import clock
from shared.events.task_types import SyncParameters
from shared.storage import mirrors, subjects
from shared.storage.database import DatabaseUnavailable
from shared.storage.subjects import Repository

_TIME_TO_REPORT = 0.9
"""Share of the run's time limit after which no further repository is begun."""


@task("sync", SyncParameters, concurrency=2)
def sync(context: TaskContext, parameters: SyncParameters) -> dict[str, Any]:
    """Bring mirrors up to date and tell what is new."""
    give_up_at = clock.monotonic() + context.timeout_seconds * _TIME_TO_REPORT
    try:
        repositories = _chosen(context, parameters.repository_id)
    except DatabaseUnavailable as error:
        raise TemporaryError(f"the database cannot be reached: {error}") from error
    outcomes = [_outcome(context, repository, give_up_at) for repository in repositories]
    result = report(outcomes, context.settings.worker_result_limit_bytes)
    sentence = complaint(outcomes)
    if sentence is None:
        return result
    hopeless = all(one.permanent for one in outcomes if one.error is not None)
    raise (PermanentError if hopeless else TemporaryError)(sentence, result=result)


def _chosen(context: TaskContext, repository_id: int | None) -> list[Repository]:
    with context.database.transaction() as connection:
        if repository_id is None:
            return subjects.repositories(connection, context.project_id)
        repository = subjects.repository(connection, repository_id)
    if repository is None or repository.project_id != context.project_id:
        raise PermanentError(f"project {context.project_id} has no repository {repository_id}")
    return [repository]


def _outcome(context: TaskContext, repository: Repository, give_up_at: float) -> Outcome:
    seconds = int(give_up_at - clock.monotonic())
    if seconds < 1:
        return Outcome(repository.repository_id, repository.name, "the run's time limit came first")
    try:
        return _synced(context, repository, min(seconds, context.settings.repository_timeout_seconds))
    except PermanentError as error:
        return Outcome(repository.repository_id, repository.name, str(error), permanent=True)
    except TemporaryError as error:
        return Outcome(repository.repository_id, repository.name, str(error))
    except DatabaseUnavailable as error:
        return Outcome(repository.repository_id, repository.name, f"the database cannot be reached: {error}")
    except OSError as error:  # a full disk, a folder that may not be written: this worker's affair, maybe not another's
        return Outcome(repository.repository_id, repository.name, f"the mirror cannot be kept: {error}")


def _synced(context: TaskContext, repository: Repository, seconds: int) -> Outcome:
    settings = context.settings.model_copy(update={"repository_timeout_seconds": seconds})
    started = clock.monotonic()
    with Mirror.opened(repository.repository_id, settings) as mirror:
        with context.database.transaction() as connection:
            seen = mirrors.seen(connection, repository.repository_id)
        if seen is not None and seen.url != repository.url:
            mirror.forget()
        baseline = None if seen is None else seen.baseline(repository.url, context.job_id)
        branches = mirror.update(repository.url)
        news = mirror.news(baseline, branches, LISTED)
        size = mirror.tidy()
        synced = mirrors.Synced(
            repository_id=repository.repository_id,
            url=repository.url,
            branches=branches,
            previous=baseline,
            size_bytes=size,
            job_id=context.job_id,
            synced_at=clock.now(),
        )
        with context.database.transaction() as connection:
            mirrors.save(connection, synced)
    return Outcome(
        repository.repository_id,
        repository.name,
        first=baseline is None,
        rebuilt=mirror.rebuilt,
        branch_count=len(branches),
        size_bytes=size,
        duration_seconds=round(clock.monotonic() - started, 3),
        news=news,
    )
