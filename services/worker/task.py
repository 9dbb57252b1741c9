"""What a task handler sees: the decorator, the context of its run, its result, and its errors.

A handler is one decorated function in one file; see docs/task-types.md. A coroutine function runs on the worker's event
loop and must only wait, never compute. A plain function runs in a process of its own, which can be killed.
"""

import inspect
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pydantic import BaseModel

from services.worker.settings import Settings
from shared.artifacts import ArtifactStore
from shared.domain.job import FailureReason
from shared.events.types import Artifact
from shared.kafka.producer import Producer
from shared.storage.database import Database

_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,80}/[A-Za-z0-9!#$&^_.+-]{1,80}(; ?[A-Za-z0-9=_-]{1,80})?")
_MOST_FILES = 1_000
"""Artifacts of one attempt: the event of its end lists them, and has to fit into one message."""


class TaskError(Exception):
    """A run failed. The text is one sentence for people; `result` may say more for programs."""

    def __init__(
        self, sentence: str, *, reason: str = FailureReason.ERROR, result: dict[str, Any] | None = None
    ) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.result = result


class PermanentError(TaskError):
    """Trying again cannot help: the job is given up at once."""


class TemporaryError(TaskError):
    """Trying again may help. `retry_after` is the least time to wait, where the other side has named one."""

    def __init__(self, sentence: str, *, retry_after: timedelta | None = None, **details: Any) -> None:
        super().__init__(sentence, **details)
        self.retry_after = retry_after


class Resources:
    """What handlers share in one process, made on first use. Travels to a child process as its settings alone."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __reduce__(self) -> tuple[type["Resources"], tuple[Settings]]:
        return Resources, (self.settings,)

    @cached_property
    def database(self) -> Database:
        """PostgreSQL."""
        return Database(self.settings.database_url, application="commandcenter-task", pool_size=4)

    @cached_property
    def kafka(self) -> Producer:
        """Kafka, to ask whether it is there; events are published by the worker itself."""
        settings = self.settings
        return Producer(settings.kafka_bootstrap_servers, settings.topic_prefix, f"{settings.instance_name}-task")

    @cached_property
    def store(self) -> ArtifactStore:
        """The artifact store."""
        return ArtifactStore(self.settings.store_url, max_bytes=self.settings.worker_artifact_limit_bytes)


@dataclass(slots=True)
class TaskContext:
    """One attempt, as its handler sees it."""

    job_id: int
    attempt: int
    schedule_id: int
    schedule_name: str
    project_id: int
    task_type: str
    scheduled_for: datetime
    trigger: str
    tags: dict[str, Any]
    started_at: datetime
    timeout_seconds: float
    resources: Resources
    artifacts: list[Artifact] = field(default_factory=list)
    file_prefix: str = ""
    """Put before the names of files: the operations of a batch share one job's folder."""

    @property
    def settings(self) -> Settings:
        """The worker's settings."""
        return self.resources.settings

    @property
    def database(self) -> Database:
        """PostgreSQL, for what an event lacks: repositories, webhooks."""
        return self.resources.database

    def save(self, name: str, source: Path | BinaryIO, media_type: str) -> Artifact:
        """Store a file as this run's artifact; one of the same name is replaced.

        Raises PermanentError, or ArtifactRefused for its name or size.
        """
        if len(self.artifacts) >= _MOST_FILES:
            raise PermanentError(f"a run may leave {_MOST_FILES} files: put them into an archive")
        if not _MEDIA_TYPE.fullmatch(media_type):
            raise PermanentError(f"{media_type[:100]!r} is no media type such as text/csv")
        name = self.file_prefix + name
        artifact = self.resources.store.save(self.scheduled_for, self.job_id, self.attempt, name, source, media_type)
        self.artifacts[:] = [one for one in self.artifacts if one.name != name]
        self.artifacts.append(artifact)
        return artifact


Result = dict[str, Any]
Function = Callable[[TaskContext, Any], Result | Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class Handler:
    """A registered task type: what the decorator makes of a function."""

    task_type: str
    parameters: type[BaseModel]
    function: Function
    kind: Literal["coroutine", "process"]
    concurrency: int
    description: str

    @property
    def path(self) -> str:
        """Where a child process finds it again."""
        return f"{self.function.__module__}:{self.function.__name__}"


def task(
    task_type: str, parameters: type[BaseModel], *, concurrency: int | None = None, description: str = ""
) -> Callable[[Function], Handler]:
    """Make a function the handler of `task_type`; at most `concurrency` of its runs execute at once in one worker."""

    def register(function: Function) -> Handler:
        waits = inspect.iscoroutinefunction(function)
        return Handler(
            task_type,
            parameters,
            function,
            "coroutine" if waits else "process",
            concurrency or (100 if waits else 2),
            description or (function.__doc__ or "").strip().partition("\n")[0],
        )

    return register
