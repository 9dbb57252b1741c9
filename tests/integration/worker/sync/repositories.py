"""Real repositories made with the git program, their rows, and syncs of them by the real handler."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import text

from services.worker.settings import Settings
from services.worker.task import Resources, TaskContext
from services.worker.tasks.sync import sync
from shared.events.task_types import SyncParameters
from shared.storage.database import Database

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
_AUTHOR = {
    "GIT_AUTHOR_NAME": "Ann Author",
    "GIT_AUTHOR_EMAIL": "ann@example.test",
    "GIT_COMMITTER_NAME": "Ann Author",
    "GIT_COMMITTER_EMAIL": "ann@example.test",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}


class Work:
    """A user's repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.folder), *arguments],
            env={**os.environ, **_AUTHOR},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def commit(self, subject: str, content: bytes = b"") -> str:
        """A new commit on the current branch; returns its id."""
        (self.folder / "file").write_bytes(content or subject.encode())
        self.git("add", "file")
        self.git("commit", "--quiet", "--allow-empty", "-m", subject)
        return self.git("rev-parse", "HEAD")


@dataclass
class Syncer:
    """Runs the handler as a child process of the worker does, against a real database."""

    settings: Settings
    database: Database

    def repository(self, url: str, *, project_id: int = 1, name: str | None = None) -> int:
        statement = text(
            "INSERT INTO repositories (project_id, name, url)"
            " VALUES (:project_id, coalesce(:name, gen_random_uuid()::text), :url) RETURNING id"
        )
        with self.database.transaction() as connection:
            values = {"project_id": project_id, "url": url, "name": name}
            return int(connection.execute(statement, values).scalar_one())

    def point(self, repository_id: int, url: str) -> None:
        with self.database.transaction() as connection:
            connection.execute(
                text("UPDATE repositories SET url = :url WHERE id = :id"), {"id": repository_id, "url": url}
            )

    def sync(self, repository_id: int | None = None, *, job_id: int = 1, **changes: Any) -> dict[str, Any]:
        context = TaskContext(
            job_id=job_id,
            attempt=1,
            schedule_id=7,
            schedule_name="Mirrors",
            project_id=1,
            task_type="sync",
            scheduled_for=AT,
            trigger="schedule",
            tags={},
            started_at=AT,
            timeout_seconds=changes.pop("timeout_seconds", 60.0),
            resources=Resources(self.settings.model_copy(update=changes)),
        )
        try:
            return sync.function(context, SyncParameters(repository_id=repository_id))  # type: ignore[return-value]
        finally:
            context.resources.database.close()

    def one(self, repository_id: int, **changes: Any) -> dict[str, Any]:
        """The outcome of a repository synced alone."""
        found: list[dict[str, Any]] = self.sync(repository_id, **changes)["repositories"]
        assert len(found) == 1
        return found[0]

    def mirror(self, repository_id: int) -> Path:
        return self.settings.home / "mirrors" / f"{repository_id}.git"
