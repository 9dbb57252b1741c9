"""How a schedule is judged: the reference's bands of success rates, and the limits of the monitor's rules.

The monitor (services/health) judges with it, the api shows it.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class Band(StrEnum):
    """Best practice 6 of the reference: above 95 % healthy, 80 to 95 % investigate, below 80 % critical."""

    HEALTHY = "healthy"
    INVESTIGATE = "investigate"
    CRITICAL = "critical"


HEALTHY_ABOVE = 0.95
CRITICAL_BELOW = 0.80


def band(successes: int, failures: int) -> Band | None:
    """The band of a schedule's success rate; None before its first run."""
    runs = successes + failures
    if runs == 0:
        return None
    rate = successes / runs
    if rate > HEALTHY_ABOVE:
        return Band.HEALTHY
    return Band.CRITICAL if rate < CRITICAL_BELOW else Band.INVESTIGATE


class IssueKind(StrEnum):
    """What the monitor finds. The first four concern one schedule, the others the system."""

    HIGH_FAILURE_RATE = "high_failure_rate"
    STALE = "stale"
    CONSECUTIVE_FAILURES = "consecutive_failures"
    OVERDUE = "overdue"
    NO_LEADER = "no_leader"
    STUCK_CONSUMER = "stuck_consumer"
    PARTITIONS_MISSING = "partitions_missing"


REMEDIES: dict[str, str] = {
    IssueKind.HIGH_FAILURE_RATE: "read last_error and the schedule's failed jobs, correct its parameters or disable it"
    " (docs/runbook.md#schedulehighfailurerate)",
    IssueKind.CONSECUTIVE_FAILURES: "read last_error and the schedule's last jobs, correct its parameters or disable it"
    " (docs/runbook.md#schedulehighfailurerate)",
    IssueKind.STALE: "see whether its occurrences are skipped, or queued with no worker for their task type"
    " (docs/runbook.md#schedulenotexecuting)",
    IssueKind.OVERDUE: "see whether a dispatcher leads and Kafka takes its events (docs/runbook.md#schedulesoverdue)",
    IssueKind.NO_LEADER: "start a dispatcher, or see in its /readyz what it waits for (docs/runbook.md#noleader)",
    IssueKind.STUCK_CONSUMER: "restart the group's consumer, or delete the group if nobody consumes any more"
    " (docs/runbook.md#consumerstuck)",
    IssueKind.PARTITIONS_MISSING: "see in the dispatcher's log why it could not make them"
    " (docs/runbook.md#partitionsmissing)",
}
"""What whoever is woken by an issue does first."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a rule speaks (the reference's Health Check Endpoint; `overdue` is DESIGN's)."""

    failure_rate_below: float = 0.5
    failure_rate_after_runs: int = 10
    stale_after: timedelta = timedelta(days=7)
    stale_grace: timedelta = timedelta(hours=1)
    """How long an occurrence may have fallen due without a run before its schedule counts as stale."""
    failures_in_a_row: int = 3
    overdue_after: timedelta = timedelta(seconds=60)
    leaderless_after: timedelta = timedelta(seconds=15)
    days_of_partitions: int = 7
    most: int = 1_000
    """Findings of one kind in one report; what goes beyond is counted, not listed."""
