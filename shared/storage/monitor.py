"""What the monitor reads: findings over all schedules, set-based, and the system's own state.

Each rule starts from the narrowest table that can answer it and joins the definitions last, by id, so that a report
over a million schedules stays below two seconds. Severities follow the bands of shared/domain/health.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from shared.domain.health import CRITICAL_BELOW, HEALTHY_ABOVE, IssueKind, Limits
from shared.storage.leases import LONGEST_SECONDS


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
    """All schedules at a glance. `bands`: schedules with a next run by band, `unrated` before their first run."""

    enabled: int
    disabled: int
    bands: dict[str, int]


_RATE = "t.success_count::double precision / (t.success_count + t.failure_count)"
_SEVERITY = f"CASE WHEN {_RATE} < :critical_below THEN 'critical' ELSE 'warning' END"

# The subquery with OFFSET 0 is a look at the definition of each candidate: an estimate that is too high must not turn
# it into a pass over every definition.
_FAILING = text(f"""
SELECT t.*, s.*, {_SEVERITY} AS severity,
    t.success_count + t.failure_count >= :after_runs AND {_RATE} < :rate_below AS failing_often,
    t.consecutive_failures >= :in_a_row AS failing_now
FROM (
    SELECT schedule_id, success_count, failure_count, consecutive_failures, last_error, last_run_at
    FROM schedule_statistics
    WHERE failure_count > 0
        AND (consecutive_failures >= :in_a_row
            OR (success_count + failure_count >= :after_runs
                AND success_count < :rate_below * (success_count + failure_count)))
    ORDER BY failure_count DESC, schedule_id LIMIT :candidates
) AS t
CROSS JOIN LATERAL (
    SELECT id, project_id, name FROM schedules
    WHERE schedules.id = t.schedule_id AND enabled AND deleted_at IS NULL OFFSET 0
) AS s
ORDER BY t.failure_count DESC, s.id LIMIT :most
""")  # noqa: S608 (constants)

# One pass over timers and statistics, both narrow: the bands of active schedules, and who may be stale. An occurrence
# fell due (claimed, or due and unclaimed) and was not followed by a run. Those with a next run come first: what was
# disabled or deleted after a skip looks idle for ever.
_PASS = text("""
SELECT count(*) FILTER (WHERE active AND success_count > :healthy_above * runs) AS healthy,
    count(*) FILTER (WHERE active AND success_count < :critical_below * runs) AS critical,
    count(*) FILTER (WHERE active AND runs > 0) AS rated, count(*) FILTER (WHERE active) AS active,
    (array_agg(schedule_id) FILTER (WHERE active AND idle))[1 : CAST(:candidates AS integer)] AS perhaps_stale,
    (array_agg(schedule_id) FILTER (WHERE idle AND NOT active))[1 : CAST(:candidates AS integer)] AS perhaps_over
FROM (
    SELECT m.schedule_id, m.next_run_at, m.next_run_at IS NOT NULL AS active, m.last_claimed_for, t.last_run_at,
        t.success_count, t.success_count + t.failure_count AS runs,
        (t.last_run_at IS NULL OR t.last_run_at < CAST(:now AS timestamptz) - :stale_after)
        AND (m.next_run_at < CAST(:now AS timestamptz) - :grace
            OR (m.last_claimed_for < CAST(:now AS timestamptz) - :grace
                AND (t.last_run_at IS NULL OR m.last_claimed_for > t.last_run_at))) AS idle
    FROM schedule_timers m LEFT JOIN schedule_statistics t ON t.schedule_id = m.schedule_id
) AS everything
""")
# The last run, or the creation, lies further back than the limit. What runs right now is no standstill.
_STALE = text("""
SELECT s.id, s.project_id, s.name, coalesce(t.last_run_at, s.created_at) AS since, t.last_run_at
FROM schedules s LEFT JOIN schedule_statistics t ON t.schedule_id = s.id
WHERE s.id = ANY(CAST(:ids AS bigint[])) AND s.enabled AND s.deleted_at IS NULL AND s.frequency <> 'once'
    AND coalesce(t.last_run_at, s.created_at) < CAST(:now AS timestamptz) - :stale_after
    AND NOT EXISTS (SELECT FROM jobs j WHERE j.schedule_id = s.id AND j.status = 'running')
ORDER BY since, s.id LIMIT :most
""")
_OVERDUE = text("""
SELECT m.schedule_id AS id, s.project_id, s.name, m.next_run_at
FROM schedule_timers m JOIN schedules s ON s.id = m.schedule_id
WHERE m.next_run_at < CAST(:now AS timestamptz) - :overdue_after AND s.enabled AND s.deleted_at IS NULL
ORDER BY m.next_run_at, m.schedule_id LIMIT :most
""")
# A lease that ends later than any is given for was taken before the clock was set back: nobody holds it (leases.py).
_LEADER = text(f"""
SELECT holder FROM leases WHERE name = 'dispatcher' AND expires_at >= clock_timestamp() - :patience
    AND (NOT isfinite(expires_at) OR expires_at <= clock_timestamp() + interval '{LONGEST_SECONDS} seconds')
""")  # noqa: S608 (a constant)
_RUNNING = text("SELECT DISTINCT task_type, schedule_id FROM jobs WHERE status = 'running'")
_DAYS = text(
    "SELECT count(*) FROM generate_series(0, :days) AS ahead, (VALUES ('jobs_'), ('audit_log_')) AS parents (parent)"
    " WHERE to_regclass(parent || to_char((CAST(:now AS timestamptz) AT TIME ZONE 'UTC')::date + ahead, 'YYYYMMDD'))"
    " IS NULL"
)
_COUNTS = text(
    "SELECT CAST(coalesce(sum(schedules) FILTER (WHERE enabled), 0) AS bigint) AS enabled,"
    " CAST(coalesce(sum(schedules) FILTER (WHERE NOT enabled), 0) AS bigint) AS disabled"
    " FROM schedule_counts WHERE project_id = 0"
)
_CANDIDATES = 4
"""How many times the listed findings are looked at before disabled and deleted schedules are left out."""


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
            "candidates": _CANDIDATES * limits.most,
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


def overview(connection: Connection, limits: Limits, now: datetime) -> tuple[Totals, list[int]]:
    """All schedules at a glance, and the ids of those that may be stale."""
    counts = connection.execute(_COUNTS).one()
    row = connection.execute(
        _PASS,
        {
            "healthy_above": HEALTHY_ABOVE,
            "critical_below": CRITICAL_BELOW,
            "now": now,
            "stale_after": limits.stale_after,
            "grace": limits.stale_grace,
            "candidates": _CANDIDATES * limits.most,
        },
    ).one()
    bands = {
        "healthy": row.healthy,
        "investigate": row.rated - row.healthy - row.critical,
        "critical": row.critical,
        "unrated": row.active - row.rated,
    }
    return Totals(counts.enabled, counts.disabled, bands), [*(row.perhaps_stale or ()), *(row.perhaps_over or ())]


def stale(connection: Connection, limits: Limits, now: datetime, candidates: Sequence[int]) -> list[Finding]:
    """Those of the candidates that have not run for the limit though an occurrence fell due."""
    if not candidates:
        return []
    values = {"ids": list(candidates), "now": now, "stale_after": limits.stale_after, "most": limits.most}
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


def running(connection: Connection) -> list[tuple[str, int]]:
    """(task type, schedule) of what runs now: its event is not finished with, and holds its partition's offset."""
    return [(row.task_type, row.schedule_id) for row in connection.execute(_RUNNING)]


def survey(connection: Connection, limits: Limits, now: datetime) -> tuple[list[Finding], Totals]:
    """Every rule's findings, and all schedules at a glance."""
    connection.execute(text("SET LOCAL work_mem = '128MB'"))  # two hashes of a million narrow rows fit
    totals, candidates = overview(connection, limits, now)
    findings = [
        *failing(connection, limits),
        *stale(connection, limits, now, candidates),
        *overdue(connection, limits, now),
        *system(connection, limits, now),
    ]
    return findings, totals


def _of(row: object, kind: IssueKind, severity: str, detail: str, since: datetime) -> Finding:
    schedule_id: int = row.id  # type: ignore[attr-defined] # a row of the statements above
    project_id: int = row.project_id  # type: ignore[attr-defined]
    return Finding(kind, f"schedule {schedule_id}", severity, detail, since, schedule_id, project_id)
