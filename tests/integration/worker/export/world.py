"""A project with a past, for reports: schedules, jobs of every status, analyses with SARIF files; runs of `export`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
import psycopg2

from services.worker.attempt import Failed, Succeeded
from services.worker.child import Call
from services.worker.process_lane import ChildRun
from services.worker.settings import Settings
from services.worker.task import Resources, TaskContext
from services.worker.tasks.export import export as handler
from shared.artifacts import ArtifactStore
from shared.events.types import Artifact

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
EVIL = '=cmd|calc <script>alert(1)</script> <img src="file:///etc/passwd"/> | `x` $a_b$ Größe Жук'


@dataclass
class World:
    """One project as an export sees it."""

    database_url: str
    home: Path

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    @cached_property
    def _connection(self) -> Any:
        connection = psycopg2.connect(self.database_url.replace("+psycopg2", ""))
        connection.autocommit = True
        return connection

    def close(self) -> None:
        self._connection.close()

    @property
    def settings(self) -> Settings:
        return Settings(database_url=self.database_url, home=self.home)

    @property
    def store(self) -> ArtifactStore:
        return ArtifactStore(self.settings.store_url)

    def schedule(self, name: str, task_type: str = "health_check", parameters: dict[str, Any] | None = None) -> int:
        text = orjson.dumps(parameters or {}).decode()
        row = self.query(
            "INSERT INTO schedules (project_id, name, task_type, task_parameters, frequency, cron_expression,"
            " created_at) VALUES (1, %s, %s, %s, 'cron', '*/5 * * * *', %s) RETURNING id",
            name,
            task_type,
            text,
            NOW - timedelta(days=400),
        )
        schedule_id = row[0][0]
        self.query(
            "INSERT INTO schedule_versions (schedule_id, version, name, task_type, task_parameters, tags)"
            " VALUES (%s, 1, %s, %s, %s, '{}')",
            schedule_id,
            name,
            task_type,
            text,
        )
        self.query(
            "INSERT INTO schedule_timers (schedule_id, project_id, next_run_at) VALUES (%s, 1, %s)",
            schedule_id,
            NOW + timedelta(minutes=5),
        )
        return int(schedule_id)

    def job(
        self,
        schedule_id: int,
        status: str = "succeeded",
        *,
        before: timedelta = timedelta(hours=1),
        task_type: str = "health_check",
        seconds: float = 2.0,
        **columns: Any,
    ) -> int:
        """A job that fell due `before` NOW."""
        at = NOW - before
        ran = status in {"succeeded", "failed"}
        values: dict[str, Any] = {
            "schedule_id": schedule_id,
            "schedule_version": 1,
            "project_id": 1,
            "task_type": task_type,
            "trigger": "schedule",
            "status": status,
            "scheduled_for": at,
            "started_at": at + timedelta(seconds=1) if ran else None,
            "finished_at": at + timedelta(seconds=1 + seconds) if ran else None,
            **columns,
        }
        names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
        row = self.query(f"INSERT INTO jobs ({names}) VALUES ({marks}) RETURNING id", *values.values())
        return int(row[0][0])

    def many_jobs(self, schedule_id: int, count: int) -> None:
        """Jobs a second apart, the last one just before NOW; every tenth failed."""
        self.query(
            "INSERT INTO jobs (schedule_id, schedule_version, project_id, task_type, trigger, status, scheduled_for,"
            " started_at, finished_at, error) SELECT %s, 1, 1, 'health_check', 'schedule',"
            " CASE WHEN n %% 10 = 0 THEN 'failed' ELSE 'succeeded' END, at, at, at + interval '1.5 s',"
            " CASE WHEN n %% 10 = 0 THEN 'the target answered 503 after a second attempt' END"
            " FROM generate_series(1, %s) AS n, LATERAL (SELECT %s - n * interval '1 s' AS at) AS due",
            schedule_id,
            count,
            NOW,
        )

    def repository(self, name: str, project_id: int = 1) -> int:
        row = self.query(
            "INSERT INTO repositories (project_id, name, url) VALUES (%s, %s, 'https://example.org/x') RETURNING id",
            project_id,
            name,
        )
        return int(row[0][0])

    def analysis(
        self,
        repository_id: int,
        results: list[dict[str, Any]] | bytes,
        *,
        before: timedelta = timedelta(hours=2),
        kind: str = "full",
        stored: bool = True,
        project_id: int = 1,
    ) -> int:
        """An analysis that found these things."""
        parameters = {"repository_id": repository_id, "analysis_type": kind}
        schedule_id = self.schedule(f"analysis {kind} of {repository_id} {before}", "analysis", parameters)
        artifact = {"name": "findings.sarif", "media_type": "application/sarif+json", "size": 1, "sha256": "0"}
        job_id = self.job(
            schedule_id, before=before, task_type="analysis", artifacts=json.dumps([artifact]), project_id=project_id
        )
        if stored:
            text = results if isinstance(results, bytes) else sarif(results)
            self.store.save(NOW - before, job_id, 1, "findings.sarif", BytesIO(text), "application/sarif+json")
        return job_id

    def context(self, **changes: Any) -> TaskContext:
        values: dict[str, Any] = {
            "job_id": 900_001,
            "attempt": 1,
            "schedule_id": 77,
            "schedule_name": "Weekly report",
            "project_id": 1,
            "task_type": "export",
            "scheduled_for": NOW,
            "trigger": "schedule",
            "tags": {},
            "started_at": NOW + timedelta(seconds=3),
            "timeout_seconds": 60.0,
            "resources": Resources(self.settings),
            **changes,
        }
        return TaskContext(**values)

    def export(self, form: str, report_type: str = "summary", **parameters: Any) -> tuple[dict[str, Any], bytes]:
        """The result and the artifact of a run."""
        context = self.context()
        wanted = handler.parameters.model_validate({"format": form, "report_type": report_type, **parameters})
        result: Any = handler.function(context, wanted)
        context.database.close()
        return result, self.stored(context.artifacts)

    def stored(self, artifacts: list[Artifact]) -> bytes:
        """What lies in the store as the only artifact."""
        (artifact,) = artifacts
        content = b"".join(self.store.open(NOW, 900_001, 1, artifact.name))
        assert (len(content), sha256(content).hexdigest()) == (artifact.size, artifact.sha256)
        return content

    def outcome(self, parameters: dict[str, Any], **changes: Any) -> Succeeded | Failed:
        """The end of a run in a process of its own, as the worker starts it."""
        call = Call("services.worker.tasks.export:export", self.context(**changes), parameters, 4 << 30, 1 << 18)
        outcome = ChildRun(call, 60.0, 2.0).run()
        assert isinstance(outcome, Succeeded | Failed)
        return outcome


def finding(rule: str, line: int, level: str | None = "warning", **more: Any) -> dict[str, Any]:
    """A SARIF result."""
    found = {
        "ruleId": rule,
        "message": {"text": f"{rule} at {line}"},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": "src/app.py"}, "region": {"startLine": line}}}],
        **more,
    }
    return found if level is None else {**found, "level": level}


def sarif(results: list[dict[str, Any]], tool: str = "bandit") -> bytes:
    rules = [{"id": "R9", "defaultConfiguration": {"level": "note"}}]
    run = {"results": results, "tool": {"driver": {"name": tool, "rules": rules}}}
    return orjson.dumps({"$schema": "https://example.org", "version": "2.1.0", "runs": [run]})


def fill(world: World) -> None:
    """Three weeks of a project with good and bad days, odd names, and two analysed repositories."""
    health, delivery, sync = (
        world.schedule("Hourly status check - production"),
        world.schedule("Notify the build channel", "webhook_delivery"),
        world.schedule(EVIL, "sync"),
    )
    for hours in range(1, 24 * 21):
        bad = hours % 24 in {3, 4} and hours // 24 % 3 == 1
        world.job(
            health,
            "failed" if bad else "succeeded",
            before=timedelta(hours=hours),
            seconds=0.4 + hours % 7,
            error="2 of 9 targets failed: https://status.example.org, tcp://db:5432" if bad else None,
            reason="error" if bad else None,
        )
    for day in range(1, 15):
        world.job(delivery, before=timedelta(days=day, minutes=5), task_type="webhook_delivery", seconds=0.3)
        world.job(
            sync,
            "failed" if day % 4 == 0 else "succeeded",
            before=timedelta(days=day, minutes=9),
            task_type="sync",
            seconds=95,
            error=EVIL if day % 4 == 0 else None,
            reason="timeout" if day % 4 == 0 else None,
        )
    world.job(delivery, "skipped", before=timedelta(days=2), reason="overlap", skip_count=5)
    world.job(delivery, "cancelled", before=timedelta(days=1), reason="cancelled_by_user")
    shop, site = world.repository("shop"), world.repository("site")
    world.analysis(shop, [finding("OLD", 1, "error")], before=timedelta(days=3))
    world.analysis(
        shop,
        [
            finding("B602", 10, "error", baselineState="new"),
            finding("B105", 20, "warning", baselineState="unchanged"),
            finding("B101", 30, baselineState="absent"),
            finding("R9", 40, None),
        ],
    )
    world.analysis(site, [finding("=evil", 7, "note")], kind="security")
    world.query("INSERT INTO projects (id, name) VALUES (2, 'not to be seen')")
    world.job(health, "failed", before=timedelta(minutes=1), project_id=2, error="not to be seen")
    world.analysis(world.repository("not to be seen", 2), [finding("B999", 1)], project_id=2)
