"""The topic registry: every topic's name, key, producers, consumers, partitions and retention, stated once.

The dispatcher and health create missing topics from it at start (shared/kafka/topics.py); the AsyncAPI document is
made from it. Names here carry no prefix; adapters put the configured one (default `commandcenter.`) in front.
"""

import re
from dataclasses import dataclass
from datetime import timedelta

TASK_TYPE_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. `partitions` None means the configured number."""

    name: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    retention: timedelta
    compacted: bool = False
    partitions: int | None = None
    key: str = "schedule id"
    description: str = ""

    def settings(self) -> dict[str, str]:
        """The broker's settings of this topic."""
        milliseconds = str(int(self.retention.total_seconds() * 1000))
        if self.compacted:
            return {
                "cleanup.policy": "compact",
                "min.compaction.lag.ms": milliseconds,
                "delete.retention.ms": milliseconds,
            }
        return {"cleanup.policy": "delete", "retention.ms": milliseconds}


SCHEDULES = Topic(
    "schedules",
    producers=("api (outbox)",),
    consumers=("health", "third parties"),
    retention=timedelta(days=7),
    compacted=True,
    description="Every change of a schedule. Consumers keep the highest version; a tombstone follows a deletion.",
)
RUNS_RESULTS = Topic(
    "runs.results",
    producers=("worker", "dispatcher (rescue)", "third parties"),
    consumers=("health", "third parties"),
    retention=timedelta(days=7),
    description="What became of each attempt.",
)
RUNS_REQUESTS = Topic(
    "runs.requests",
    producers=("api (outbox)",),
    consumers=("health", "third parties"),
    retention=timedelta(days=7),
    description="What somebody asked for by hand: to execute a schedule, to retry or cancel a job. For the audit log.",
)
OBJECTS = Topic(
    "objects",
    producers=("api (outbox)",),
    consumers=("health", "third parties"),
    retention=timedelta(days=7),
    key="kind and id of the object",
    description="Every change of a project, repository, webhook, task type or API key. For the audit log.",
)
RUNS_CONTROL = Topic(
    "runs.control",
    producers=("api (outbox)", "dispatcher"),
    consumers=("worker (all of it, outside any group)",),
    retention=timedelta(days=1),
    description="Requests to stop a running attempt.",
)
RUNS_DEAD = Topic(
    "runs.dead",
    producers=("worker", "health", "dispatcher"),
    consumers=("health", "operators"),
    retention=timedelta(days=30),
    key="the original key",
    description="Messages nobody could read or finish, with the reason in headers and the original bytes as value.",
)
HEALTH_ALERTS = Topic(
    "health.alerts",
    producers=("health",),
    consumers=("third parties",),
    retention=timedelta(days=30),
    description="Issues opened and resolved.",
)

FIXED = (SCHEDULES, RUNS_RESULTS, RUNS_REQUESTS, OBJECTS, RUNS_CONTROL, RUNS_DEAD, HEALTH_ALERTS)


def runs_due(task_type: str) -> Topic:
    """The topic of one task type's due runs. Raises ValueError for a name that is no task type name."""
    if not TASK_TYPE_NAME.fullmatch(task_type):
        raise ValueError(f"{task_type!r} is no task type name: lower-case letters, digits and _, at most 48")
    return Topic(
        f"runs.due.{task_type}",
        producers=("dispatcher",),
        consumers=("worker", "third parties"),
        retention=timedelta(days=7),
        description=f"Attempts of task type {task_type} to run now.",
    )
