"""`monitor_schedule_health`: every five minutes a report over all schedules and the system, and the issues it opens.

Called by duty.py on the replica that holds the lease. The reference's Monitoring chapter names the rules and the lines.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from services.health.announcing import Announcer
from shared import clock
from shared.domain.health import IssueKind, Limits
from shared.events.topics import runs_due
from shared.kafka.lag import BrokerUnavailable, LagReader, Standing
from shared.kafka.producer import partition_of
from shared.storage import issues, monitor
from shared.storage.database import Database
from shared.storage.monitor import Finding, Totals
from shared.telemetry import metrics
from shared.telemetry.logging import get_logger

log = get_logger(__name__)

ACTION = "schedule_health"
_NAMED = 5
"""Topics that a finding names."""


class StandStill:
    """Consumer groups that are behind and have not moved since the last report."""

    def __init__(self, reader: LagReader, running: Callable[[], Iterable[tuple[str, int]]] = tuple) -> None:
        """`running`: (task type, schedule) of the runs in progress. Each rightly holds its partition's offset."""
        self._reader, self._running = reader, running
        self._last: dict[tuple[str, str, int], Standing] = {}

    def find(self, now: datetime) -> list[Finding] | None:
        """One finding a group; None while Kafka does not answer: then nobody can tell."""
        running = [(runs_due(task_type).name, str(schedule_id)) for task_type, schedule_id in self._running()]
        try:
            partitions = self._reader.topics()
            standings = {
                (group, one.topic, one.partition): one
                for group in self._reader.groups()
                for one in self._reader.read(group)
            }
        except BrokerUnavailable as error:
            log.warning("The groups' lag cannot be read: %s", error, action=ACTION)
            return None
        at_work = {(topic, partition_of(key, partitions[topic])) for topic, key in running if partitions.get(topic)}
        stuck: dict[str, list[Standing]] = {}
        for key, one in standings.items():
            earlier = self._last.get(key)
            if (one.topic, one.partition) in at_work:
                continue
            if one.lag and earlier is not None and earlier.lag and earlier.committed == one.committed:
                stuck.setdefault(key[0], []).append(one)
        self._last = standings
        return [
            Finding(
                IssueKind.STUCK_CONSUMER,
                f"group {group}",
                "critical",
                f"consumer group {group} is {sum(one.lag for one in behind)} messages behind and does not move: "
                + ", ".join(sorted({one.topic for one in behind})[:_NAMED]),
                now,
            )
            for group, behind in sorted(stuck.items())
        ]


class Monitor:
    """Makes reports."""

    def __init__(
        self,
        database: Database,
        limits: Limits,
        announcer: Announcer,
        find_stuck: Callable[[datetime], Sequence[Finding] | None],
    ) -> None:
        """`find_stuck`: the consumers that stand still, which Kafka alone can tell; None when it does not."""
        self._database, self._limits, self._announcer = database, limits, announcer
        self._find_stuck = find_stuck

    def report(self, _now: datetime) -> None:
        """One report. The instant is PostgreSQL's: this host's clock judges nothing."""
        with self._database.transaction() as connection:
            now = monitor.database_now(connection)
        # Outside any transaction: a Kafka that does not answer takes longer than one may stand idle.
        stuck = self._find_stuck(now)
        started = clock.monotonic()
        with self._database.transaction() as connection:
            findings, totals = monitor.survey(connection, self._limits, now)
            findings += stuck or ()
            seconds = clock.monotonic() - started
            unjudged = [IssueKind.STUCK_CONSUMER] if stuck is None else []
            issues.note(connection, findings, totals, now, seconds, unjudged)
        metrics.REPORT_DURATION.set(seconds)
        self._announcer.announce()
        self._say(findings, totals, seconds)

    def _say(self, findings: Sequence[Finding], totals: Totals, seconds: float) -> None:
        with self._database.transaction() as connection:
            current = issues.open_counts(connection)
        for kind in IssueKind:
            found = sum(one.kind is kind for one in findings)
            if found >= self._limits.most:
                log.warning("More than %d findings of one kind: the rest is not listed", self._limits.most, kind=kind)
        critical = sum(one.number for one in current if one.severity == "critical" and one.of_schedule)
        if critical:
            log.warning("Found %d critical schedule issues", critical, action=ACTION)
        log.info(
            "monitor_schedule_health completed: %d schedules, %d open issues",
            totals.enabled + totals.disabled,
            sum(one.number for one in current),
            action=ACTION,
            seconds=round(seconds, 3),
            **totals.bands,
        )
