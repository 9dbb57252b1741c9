"""What the monitor reads: findings over all schedules, set-based, and the system's own state.

Each rule starts from the narrowest table that can answer it and joins the definitions last, by id, so that a report
over a million schedules stays below two seconds. Severities follow the bands of shared/domain/health.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from shared.domain.health import CRITICAL_BELOW, HEALTHY_ABOVE, IssueKind, Limits


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that speaks about one subject, in one report."""

    kind: IssueKind
    subject: str
    severity: str
    detail: str
    since: datetime
    schedule_id: int | None = None
    project_id: int | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """All schedules at a glance. `bands`: enabled schedules by band, `unrated` before their first run."""

    enabled: int
    disabled: int
    bands: dict[str, int]


_RATE = "t.success_count::double precision / (t.success_count + t.failure_count)"
_SEVERITY = f"CASE WHEN {_RATE} < :critical_below THEN 'critical' ELSE 'warning' END"

_FAILING = text(f"""
SELECT s.id, s.project_id, {_SEVERITY} AS severity, t.success_count, t.failure_count, t.consecutive_failures,
    t.last_error, t.last_run_at, s.name,
    t.success_count + t.failure_count >= :after_runs AND {_RATE} < :rate_below AS failing_often,
    t.consecutive_failures >= :in_a_row AS failing_now
FROM (
    SELECT * FROM schedule_statistics
    WHERE failure_count > 0
        AND (consecutive_failures >= :in_a_row
            OR (success_count + failure_count >= :after_runs
                AND success_count < :rate_below * (success_count + failure_count)))
) AS t
JOIN schedules s ON s.id = t.schedule_id
WHERE s.enabled AND s.deleted_at IS NULL
ORDER BY t.failure_count DESC, s.id LIMIT :most
""")  # noqa: S608 (constants)

# An occurrence fell due (claimed, or due and unclaimed) and was not followed by a run, and the last run, or the
# creation, lies further back than the limit. What runs right now is no standstill.
_STALE = text("""
SELECT s.id, s.project_id, s.name, coalesce(c.last_run_at, s.created_at) AS since, c.last_run_at
FROM (
    SELECT m.schedule_id, t.last_run_at, least(m.next_run_at, m.last_claimed_for) AS due_at
    FROM schedule_timers m LEFT JOIN schedule_statistics t ON t.schedule_id = m.schedule_id
    WHERE (t.last_run_at IS NULL OR t.last_run_at < CAST(:now AS timestamptz) - :stale_after)
        AND (m.next_run_at < CAST(:now AS timestamptz) - :grace
            OR (m.last_claimed_for < CAST(:now AS timestamptz) - :grace
                AND (t.last_run_at IS NULL OR m.last_claimed_for > t.last_run_at)))
) AS c
JOIN schedules s ON s.id = c.schedule_id
WHERE s.enabled AND s.deleted_at IS NULL AND s.frequency <> 'once'
    AND (c.last_run_at IS NOT NULL OR s.created_at < CAST(:now AS timestamptz) - :stale_after)
    AND NOT EXISTS (SELECT FROM jobs j WHERE j.schedule_id = s.id AND j.status = 'running')
ORDER BY since, s.id LIMIT :most
""")
_OVERDUE = text("""
SELECT m.schedule_id AS id, s.project_id, s.name, m.next_run_at
FROM schedule_timers m JOIN schedules s ON s.id = m.schedule_id
WHERE m.next_run_at < CAST(:now AS timestamptz) - :overdue_after AND s.enabled AND s.deleted_at IS NULL
ORDER BY m.next_run_at, m.schedule_id LIMIT :most
""")
_LEADER = text(
    "SELECT holder, expires_at FROM leases WHERE name = 'dispatcher' AND expires_at >= clock_timestamp() - :patience"
)
_DAYS = text(
    "SELECT count(*) FROM generate_series(0, :days) AS ahead, (VALUES ('jobs_'), ('audit_log_')) AS parents (parent)"
    " WHERE to_regclass(parent || to_char((CAST(:now AS timestamptz) AT TIME ZONE 'UTC')::date + ahead, 'YYYYMMDD'))"
    " IS NULL"
)
_TOTALS = text("""
SELECT count(*) FILTER (WHERE s.enabled) AS enabled, count(*) FILTER (WHERE NOT s.enabled) AS disabled,
    count(*) FILTER (WHERE s.enabled AND t.success_count > :healthy_above * (t.success_count + t.failure_count))
        AS healthy,
    count(*) FILTER (WHERE s.enabled AND t.success_count < :critical_below * (t.success_count + t.failure_count))
        AS critical,
    count(*) FILTER (WHERE s.enabled AND t.success_count + t.failure_count > 0) AS rated
FROM schedules s LEFT JOIN schedule_statistics t ON t.schedule_id = s.id WHERE s.deleted_at IS NULL
""")


def database_now(connection: Connection) -> datetime:
    """PostgreSQL's clock: due-ness is judged by it alone."""
    now: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return now


def failing(connection: Connection, limits: Limits) -> list[Finding]:
    """High failure rates, and series of failures that last until now."""
    rows = connection.execute(
        _FAILING,
        {
            "critical_below": CRITICAL_BELOW,
            "after_runs": limits.failure_rate_after_runs,
            "rate_below": limits.failure_rate_below,
            "in_a_row": limits.failures_in_a_row,
            "most": limits.most,
        },
    )
    found = []
    for row in rows:
        runs = row.success_count + row.failure_count
        error = f"; last error: {row.last_error}" if row.last_error else ""
        if row.failing_often:
            rate = 100 * row.success_count / runs
            detail = f"{row.name}: success rate {rate:.1f} % after {runs} runs{error}"
            found.append(_of(row, IssueKind.HIGH_FAILURE_RATE, row.severity, detail, row.last_run_at))
        if row.failing_now:
            detail = f"{row.name}: the last {row.consecutive_failures} runs failed{error}"
            found.append(_of(row, IssueKind.CONSECUTIVE_FAILURES, row.severity, detail, row.last_run_at))
    return found


def stale(connection: Connection, limits: Limits, now: datetime) -> list[Finding]:
    """No run for the limit though an occurrence fell due."""
    values = {"now": now, "stale_after": limits.stale_after, "grace": limits.stale_grace, "most": limits.most}
    found = []
    for row in connection.execute(_STALE, values):
        when = f"since {row.last_run_at:%Y-%m-%d %H:%M} UTC" if row.last_run_at else "since its creation"
        detail = f"{row.name}: no execution {when}, though an occurrence fell due"
        found.append(_of(row, IssueKind.STALE, "warning", detail, row.since))
    return found


def overdue(connection: Connection, limits: Limits, now: datetime) -> list[Finding]:
    """Due and unclaimed for longer than the grace time: judged from the timers, whatever the dispatcher says."""
    values = {"now": now, "overdue_after": limits.overdue_after, "most": limits.most}
    return [
        _of(
            row,
            IssueKind.OVERDUE,
            "critical",
            f"{row.name}: due at {row.next_run_at:%Y-%m-%d %H:%M:%S} UTC and not dispatched",
            row.next_run_at,
        )
        for row in connection.execute(_OVERDUE, values)
    ]


def system(connection: Connection, limits: Limits, now: datetime) -> list[Finding]:
    """A missing leader, and missing partitions."""
    found = []
    if connection.execute(_LEADER, {"patience": limits.leaderless_after}).first() is None:
        detail = "no dispatcher holds the lease: nothing is dispatched"
        found.append(Finding(IssueKind.NO_LEADER, "dispatcher", "critical", detail, now))
    missing = connection.execute(_DAYS, {"days": limits.days_of_partitions - 1, "now": now}).scalar_one()
    if missing:
        detail = f"{missing} daily partitions of the next {limits.days_of_partitions} days are missing"
        found.append(Finding(IssueKind.PARTITIONS_MISSING, "partitions", "warning", detail, now))
    return found


def totals(connection: Connection) -> Totals:
    """All schedules at a glance."""
    row = connection.execute(_TOTALS, {"healthy_above": HEALTHY_ABOVE, "critical_below": CRITICAL_BELOW}).one()
    bands = {
        "healthy": row.healthy,
        "investigate": row.rated - row.healthy - row.critical,
        "critical": row.critical,
        "unrated": row.enabled - row.rated,
    }
    return Totals(row.enabled, row.disabled, bands)


def all_findings(connection: Connection, limits: Limits, now: datetime) -> Sequence[Finding]:
    """Every rule's findings."""
    # The tables' own order is right for one pass over everything; a fresh table's statistics must not change that.
    connection.execute(text("SET LOCAL work_mem = '128MB'; SET LOCAL max_parallel_workers_per_gather = 0"))
    return [
        *failing(connection, limits),
        *stale(connection, limits, now),
        *overdue(connection, limits, now),
        *system(connection, limits, now),
    ]


def _of(row: object, kind: IssueKind, severity: str, detail: str, since: datetime) -> Finding:
    schedule_id: int = row.id  # type: ignore[attr-defined] # a row of the statements above
    project_id: int = row.project_id  # type: ignore[attr-defined]
    return Finding(kind, f"schedule {schedule_id}", severity, detail, since, schedule_id, project_id)
