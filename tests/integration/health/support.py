"""What the health tests share: stored jobs, result events, and the independent count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
from psycopg2.extras import execute_values

from shared.events.envelope import Event, encode
from shared.events.types import EventData, RunCancelled, RunFailed, RunStarted, RunSucceeded
from shared.kafka.consumer import Record

NOW = datetime.now(UTC).replace(microsecond=0)


class Rows:
    """Plain SQL against a test's database."""

    def __init__(self, database_url: str) -> None:
        self.connection = psycopg2.connect(database_url.replace("+psycopg2", ""))
        self.connection.autocommit = True

    def __call__(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def jobs(self, number: int, schedules: int = 5, max_attempts: int = 3) -> list[tuple[int, int, datetime]]:
        """Queued jobs: (id, schedule_id, scheduled_for)."""
        values = [(1 + i % schedules, NOW - timedelta(seconds=i // schedules), max_attempts) for i in range(number)]
        with self.connection.cursor() as cursor:
            made: list[tuple[int, int, datetime]] = execute_values(
                cursor,
                "INSERT INTO jobs (schedule_id, schedule_version, project_id, task_type, trigger, status,"
                " scheduled_for, max_attempts) VALUES %s RETURNING id, schedule_id, scheduled_for",
                values,
                template="(%s, 1, 1, 'analysis', 'schedule', 'queued', %s, %s)",
                page_size=1000,
                fetch=True,
            )
            return made

    def counts(self) -> dict[str, Any]:
        """What jobs, statistics and audit log say about ends."""
        return {
            "jobs": dict(self("SELECT status, count(*) FROM jobs GROUP BY 1")),
            "statistics": {
                row[0]: row[1:]
                for row in self("SELECT schedule_id, success_count, failure_count FROM schedule_statistics ORDER BY 1")
            },
            "audit": dict(self("SELECT action, count(*) FROM audit_log GROUP BY 1")),
        }

    def close(self) -> None:
        self.connection.close()


def event(kind: str, job: tuple[int, int, datetime], attempt: int = 1, by: str = "w") -> Event:
    """A result event of a job: started, succeeded, failed, retried (failed, will retry) or cancelled."""
    job_id, schedule_id, scheduled_for = job
    base: dict[str, Any] = {
        "job_id": job_id,
        "attempt": attempt,
        "schedule_id": schedule_id,
        "project_id": 1,
        "task_type": "analysis",
        "scheduled_for": scheduled_for,
        "worker": by,
        "started_at": scheduled_for + timedelta(seconds=1),
    }
    ended = {"finished_at": scheduled_for + timedelta(seconds=3), "duration_seconds": 2.0}
    data: EventData
    match kind:
        case "started":
            data = RunStarted(**base)
        case "succeeded":
            data = RunSucceeded(**base, **ended, result={"findings": 3})
        case "cancelled":
            data = RunCancelled(**base, **ended, reason="cancelled_by_user")
        case _:
            data = RunFailed(
                **base,
                **ended,
                error="it broke",
                reason="error",
                will_retry=kind == "retried",
                next_attempt_at=NOW if kind == "retried" else None,
            )
    return Event(f"run-{kind}-{job_id}-{attempt}-{by}", "/worker", NOW, data, schedule_id, job_id)


def record(one: Event, offset: int = 0, topic: str = "runs.results", partitions: int = 3) -> Record:
    """The event as it comes from Kafka: a schedule's events in one partition."""
    message = encode(topic, one)
    headers = [(name, value.encode()) for name, value in message.headers.items()]
    value = None if message.value is None else message.value.encode()
    return Record(topic, int(message.key or 0) % partitions, offset, message.key.encode(), list(headers), value)


def independent_count(events: Iterable[Event]) -> dict[int, tuple[int, int]]:
    """Successes and failures by schedule, from the events alone, in their order: each job's first end wins."""
    closed: set[int] = set()
    retrying: set[int] = set()
    seen: set[str] = set()
    counts: dict[int, Counter[str]] = {}
    for one in events:
        data: Any = one.data
        job_id, kind = data.job_id, one.id.split("-")[1]
        # Nobody queues a second attempt here: after a granted retry it can only be given up.
        after_retry = {("cancelled", 2), ("failed", 2)}
        if kind == "started" or job_id in closed or one.id in seen:
            continue
        seen.add(one.id)  # the same event again says nothing new, not even when it first came too early
        if (kind, data.attempt) not in after_retry if job_id in retrying else data.attempt != 1:
            continue
        counter = counts.setdefault(data.schedule_id, Counter())
        if kind == "retried":
            retrying.add(job_id)
        else:
            closed.add(job_id)
            counter[kind] += 1
    return {
        schedule_id: (counter["succeeded"], counter["failed"]) for schedule_id, counter in counts.items() if counter
    }


def settled(rows: Sequence[tuple[int, int]]) -> int:
    """Sum of pairs: jobs that ended with an outcome."""
    return sum(a + b for a, b in rows)
