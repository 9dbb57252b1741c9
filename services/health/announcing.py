"""Tells the world about issues: on the topic health.alerts, and where configured by webhook and e-mail.

At least once: an issue counts as announced when Kafka has acknowledged it. The event's id is the issue's own, so that a
repeat is recognised. Published directly and not through the outbox: the dispatcher that empties it may be missing.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from shared import clock
from shared.domain.health import REMEDIES
from shared.events.envelope import Event, Message, encode
from shared.events.topics import HEALTH_ALERTS
from shared.events.types import EventData, HealthIssueOpened, HealthIssueResolved
from shared.kafka.producer import Producer, QueueFull
from shared.storage import issues
from shared.storage.database import Database
from shared.storage.issues import Issue
from shared.telemetry import metrics
from shared.telemetry.logging import get_logger

log = get_logger(__name__)

SOURCE = "/commandcenter/health"
ACTION = "schedule_health"
FLUSH_SECONDS = 10.0

Notify = Callable[[Sequence[tuple[Issue, str]]], None]
"""Another channel: gets (issue, "opened" | "resolved") pairs; its failures are its own affair."""


class Announcer:
    """Announces what nobody has heard of yet."""

    def __init__(self, database: Database, producer: Producer, channels: Sequence[Notify] = ()) -> None:
        self._database, self._producer, self._channels = database, producer, channels

    def announce(self) -> None:
        """Everything unannounced; what Kafka does not take now is announced with the next report."""
        with self._database.transaction() as connection:
            waiting = issues.unannounced(connection)
        if not waiting:
            return
        now = clock.now()
        told: list[tuple[Issue, str]] = []
        for issue, opening_known in waiting:
            if not opening_known:
                told.append((issue, "opened"))
            if issue.resolved_at is not None:
                told.append((issue, "resolved"))
        if not self._publish([message_of(issue, change, now) for issue, change in told]):
            log.warning("Kafka does not take the alerts: they are announced with the next report", action=ACTION)
            metrics.FAULTS.labels("health", "alerts").inc()
            return
        with self._database.transaction() as connection:
            issues.announced(connection, [issue.id for issue, _ in waiting])
        for issue, change in told:
            say(issue, change)
        for notify in self._channels:
            notify(told)

    def _publish(self, messages: Sequence[Message]) -> bool:
        refused: list[str] = []

        def delivered(error: str | None) -> None:
            if error is not None:
                refused.append(error)

        try:
            for message in messages:
                self._producer.send(message, delivered)
        except QueueFull:
            return False
        return self._producer.flush(FLUSH_SECONDS) == 0 and not refused


def message_of(issue: Issue, change: str, now: datetime) -> Message:
    """The event of an issue that was opened or resolved."""
    data: EventData
    if change == "opened" or issue.resolved_at is None:
        data = HealthIssueOpened(
            issue_id=issue.id,
            kind=issue.kind,
            severity="critical" if issue.severity == "critical" else "warning",
            schedule_id=issue.schedule_id,
            project_id=issue.project_id,
            since=issue.since,
            detail=issue.detail,
            remedy=REMEDIES.get(issue.kind),
        )
    else:
        data = HealthIssueResolved(
            issue_id=issue.id,
            kind=issue.kind,
            severity="critical" if issue.severity == "critical" else "warning",
            schedule_id=issue.schedule_id,
            project_id=issue.project_id,
            since=issue.since,
            detail=issue.detail,
            remedy=REMEDIES.get(issue.kind),
            resolved_at=issue.resolved_at,
        )
    return encode(
        HEALTH_ALERTS.name, Event(f"health-{change}-{issue.id}", SOURCE, now, data, schedule_id=issue.schedule_id)
    )


def say(issue: Issue, change: str) -> None:
    """The log line of a change, with the schedule where there is one."""
    write = log.info if change == "resolved" else log.warning
    write(
        "Health issue %s: %s",
        change,
        issue.detail,
        action=ACTION,
        schedule_id=issue.schedule_id,
        kind=issue.kind,
        severity=issue.severity,
        remedy=None if change == "resolved" else REMEDIES.get(issue.kind),
    )
