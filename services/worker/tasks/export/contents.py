"""What stands in each report: figures, charts' data and tables, made from the database and the analyses' files.

Used by handler.py, inside one snapshot of the database.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from services.worker.tasks.export.findings import LEVELS, Findings
from services.worker.tasks.export.report import (
    Column,
    Figure,
    Head,
    Kind,
    Part,
    Report,
    Row,
    Table,
    lasting,
)
from shared.storage import reports
from shared.storage.database import Connection
from shared.storage.reports import Scope, Tally

TITLES = {
    "summary": "Summary of scheduled work",
    "findings": "Findings of code analysis",
    "runs": "Runs of scheduled work",
    "schedules": "Schedules and how they did",
}
_MOST_NAMED = 10
"""Rows of a summary's lists of what needs attention."""

RUN_COLUMNS = (
    Column("job_id", "Job", Kind.ID, 0.7),
    Column("schedule_id", "Schedule id", Kind.ID, wide=True),
    Column("schedule", "Schedule", weight=2.2),
    Column("task_type", "Task type", weight=1.6),
    Column("trigger", "Trigger", weight=0.9),
    Column("status", "Status", Kind.STATUS, 1.0),
    Column("reason", "Reason", weight=1.1),
    Column("scheduled_for", "Scheduled for", Kind.INSTANT, 1.5),
    Column("started_at", "Started", Kind.INSTANT, wide=True),
    Column("finished_at", "Finished", Kind.INSTANT, wide=True),
    Column("duration_seconds", "Duration", Kind.SECONDS, 1.0),
    Column("attempt", "Attempt", Kind.NUMBER, 0.8),
    Column("error", "Error", weight=2.6),
    Column("skip_count", "Occurrences skipped", Kind.NUMBER, wide=True),
)
SCHEDULE_COLUMNS = (
    Column("schedule_id", "Id", Kind.ID, 0.5),
    Column("schedule", "Schedule", weight=1.9),
    Column("task_type", "Task type", weight=1.9),
    Column("when", "When", weight=1.4),
    Column("timezone", "Timezone", wide=True),
    Column("enabled", "Enabled", weight=0.95),
    Column("succeeded", "Succeeded", Kind.NUMBER, 1.25),
    Column("failed", "Failed", Kind.NUMBER, 0.9),
    Column("cancelled", "Cancelled", Kind.NUMBER, wide=True),
    Column("skipped", "Skipped", Kind.NUMBER, 1.05),
    Column("success_rate", "Success rate", Kind.PERCENT, 1.05),
    Column("average_seconds", "Average run", Kind.SECONDS, 1.05),
    Column("last_run_at", "Last run", Kind.INSTANT, 1.9),
    Column("last_status", "Last status", Kind.STATUS, 1.15),
    Column("last_error", "Last error", wide=True),
    Column("next_run_at", "Next run", Kind.INSTANT, 1.9),
)
FINDING_COLUMNS = (
    Column("repository", "Repository", weight=1.3),
    Column("level", "Level", Kind.STATUS, 0.8),
    Column("state", "State", weight=0.9),
    Column("rule", "Rule", weight=1.1),
    Column("message", "Message", weight=3.2),
    Column("file", "File", weight=2.2),
    Column("line", "Line", Kind.ID, 0.6),
    Column("tool", "Tool", weight=0.8),
    Column("analysis_job_id", "Analysis job", Kind.ID, wide=True),
    Column("found_at", "Found at", Kind.INSTANT, wide=True),
)
_TYPE_COLUMNS = (
    Column("task_type", "Task type", weight=1.8),
    Column("runs", "Runs", Kind.NUMBER, 0.8),
    Column("succeeded", "Succeeded", Kind.NUMBER, 1.25),
    Column("failed", "Failed", Kind.NUMBER, 0.8),
    Column("cancelled", "Cancelled", Kind.NUMBER, 1.2),
    Column("skipped", "Skipped", Kind.NUMBER),
    Column("success_rate", "Success rate", Kind.PERCENT),
    Column("average_seconds", "Average run", Kind.SECONDS),
    Column("slow_seconds", "95 % within", Kind.SECONDS),
)
_ATTENTION_COLUMNS = (
    Column("schedule_id", "Id", Kind.ID, 0.6),
    Column("schedule", "Schedule", weight=2.4),
    Column("task_type", "Task type", weight=1.9),
    Column("failed", "Failed", Kind.NUMBER, 0.8),
    Column("runs", "Runs", Kind.NUMBER, 0.7),
    Column("success_rate", "Success rate", Kind.PERCENT, 1.0),
    Column("last_status", "Last status", Kind.STATUS, 1.0),
    Column("last_error", "Last error", weight=2.7),
)
_FAILURE_COLUMNS = (
    Column("scheduled_for", "Scheduled for", Kind.INSTANT, 1.75),
    Column("job_id", "Job", Kind.ID, 0.7),
    Column("schedule", "Schedule", weight=2.0),
    Column("task_type", "Task type", weight=1.8),
    Column("reason", "Reason", weight=1.0),
    Column("error", "Error", weight=3.0),
)
_PART_COLUMNS = (
    Column("start", "From", Kind.INSTANT, 1.4),
    Column("succeeded", "Succeeded", Kind.NUMBER),
    Column("failed", "Failed", Kind.NUMBER),
    Column("cancelled", "Cancelled", Kind.NUMBER),
    Column("skipped", "Skipped", Kind.NUMBER),
    Column("success_rate", "Success rate", Kind.PERCENT),
)
_REPOSITORY_COLUMNS = (
    Column("repository_id", "Id", Kind.ID, 0.6),
    Column("repository", "Repository", weight=3.0),
    *(
        Column(level, title, Kind.NUMBER)
        for level, title in zip(LEVELS, ("Errors", "Warnings", "Notes", "Other"), strict=True)
    ),
)


def report(connection: Connection, scope: Scope, head: Head, findings: Findings | None) -> Report:
    """The report that `head.report_type` names. `findings` is open for summary and findings, None otherwise."""
    if head.report_type == "findings":
        if findings is None:
            raise ValueError("a report of findings needs them")
        return _findings(head, findings)
    whole = reports.tally(connection, scope)
    part_name, width = _parts(scope.until - scope.since)
    parts = tuple(_part(at, one, width) for at, one in reports.by_bucket(connection, scope, width))
    figures = _run_figures(whole, reports.tally(connection, scope.before()))
    figures.append(_schedule_figure(*reports.schedule_count(connection, scope)))
    if head.report_type == "runs":
        table = Table(
            "runs",
            "All runs",
            RUN_COLUMNS,
            lambda: (_run_row(row) for row in reports.runs(connection, scope)),
            "Nothing was due in this period.",
        )
        return Report(head, tuple(figures), part_name, parts, (), (table,), main="runs")
    if head.report_type == "schedules":
        table = Table(
            "schedules",
            "All schedules",
            SCHEDULE_COLUMNS,
            lambda: (_schedule_row(row, one) for row, one in reports.schedules(connection, scope)),
            "This project has no schedules.",
        )
        return Report(head, tuple(figures), part_name, parts, (), (table,), main="schedules")
    return _summary(connection, scope, head, findings, figures, part_name, parts)


def _summary(
    connection: Connection,
    scope: Scope,
    head: Head,
    findings: Findings | None,
    figures: list[Figure],
    part_name: str,
    parts: tuple[Part, ...],
) -> Report:
    types = [(name, *_counts(one), one.slow_seconds) for name, one in reports.by_task_type(connection, scope)]
    attention = [
        (
            row.schedule_id,
            row.name,
            row.task_type,
            one.failed,
            one.runs,
            one.success_rate,
            row.last_status,
            row.last_error,
        )
        for row, one in reports.failing_schedules(connection, scope, _MOST_NAMED)
    ]
    failed = [
        (row.scheduled_for, row.job_id, row.schedule_name, row.task_type, row.reason, row.error)
        for row in reports.failures(connection, scope, _MOST_NAMED)
    ]
    tables = [
        _table("task_types", "By task type", _TYPE_COLUMNS, types, "Nothing was due in this period."),
        _table(
            "attention",
            "Schedules that need attention",
            _ATTENTION_COLUMNS,
            attention,
            "No schedule had a failed run in this period.",
            f"Those with most failed runs, {_MOST_NAMED} at most.",
        ),
        _table(
            "failures",
            "Latest failures",
            _FAILURE_COLUMNS,
            failed,
            "No run failed in this period.",
            f"Newest first, {_MOST_NAMED} at most.",
        ),
    ]
    levels: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()
    if findings is not None and findings.repositories:
        figures += _finding_figures(findings)
        tables.append(_repositories(findings))
        levels, notes = _levels(findings), tuple(findings.notes)
    tables.append(
        _table(
            "parts",
            f"By {part_name}",
            _PART_COLUMNS,
            [(one.start, one.succeeded, one.failed, one.cancelled, one.skipped, one.success_rate) for one in parts],
            "The period is empty.",
        )
    )
    return Report(head, tuple(figures), part_name, parts, levels, tuple(tables), notes=notes)


def _findings(head: Head, findings: Findings) -> Report:
    empty = "No repository was analysed in this period."
    if findings.repositories:
        empty = "The analyses of this period found nothing."
    tables = (
        _repositories(findings),
        Table("findings", "All findings", FINDING_COLUMNS, findings.rows, empty),
    )
    return Report(
        head,
        tuple(_finding_figures(findings)),
        "day",
        (),
        _levels(findings),
        tables,
        main="findings",
        notes=tuple(findings.notes),
    )


def _repositories(findings: Findings) -> Table:
    rows: list[Row] = [
        (number, name, *(levels[level] for level in LEVELS))
        for (number, name), levels in sorted(findings.by_repository.items(), key=lambda one: one[0][1])
    ]
    note = "As the newest analyses of the period told it."
    return _table(
        "repositories",
        "Findings by repository",
        _REPOSITORY_COLUMNS,
        rows,
        "No repository was analysed in this period.",
        note,
    )


def _levels(findings: Findings) -> tuple[tuple[str, int], ...]:
    return tuple((level, findings.levels[level]) for level in LEVELS)


def _finding_figures(findings: Findings) -> list[Figure]:
    standing = sum(findings.levels.values())
    changes = [f"{findings.states[state]:,} {state}" for state in ("new", "fixed") if findings.states[state]]
    return [
        Figure("findings", "Findings", standing, hint=", ".join(changes)),
        Figure("findings_error", "Errors", findings.levels["error"], hint="findings of the highest level"),
        Figure("repositories_analysed", "Repositories analysed", findings.repositories),
    ]


def _run_figures(whole: Tally, before: Tally) -> list[Figure]:
    rate_hint = "no runs in the period before"
    if before.success_rate is not None:
        rate_hint = f"{before.success_rate:.1f} % in the period before"
    not_run = [
        f"{count:,} {name}" for count, name in ((whole.cancelled, "cancelled"), (whole.skipped, "skipped")) if count
    ]
    return [
        Figure("runs", "Runs", whole.runs, hint=f"{before.runs:,} in the period before"),
        Figure("success_rate", "Success rate", whole.success_rate, Kind.PERCENT, rate_hint),
        Figure("failed", "Failed runs", whole.failed, hint=f"{before.failed:,} in the period before"),
        Figure("not_run", "Not run", whole.cancelled + whole.skipped, hint=", ".join(not_run) or "nothing left out"),
        Figure(
            "average_seconds",
            "Average run",
            whole.average_seconds,
            Kind.SECONDS,
            f"95 % within {lasting(whole.slow_seconds)}" if whole.slow_seconds is not None else "",
        ),
    ]


def _schedule_figure(total: int, enabled: int) -> Figure:
    return Figure("schedules", "Schedules", total, hint=f"{enabled:,} enabled")


def _parts(length: timedelta) -> tuple[str, timedelta]:
    """How to cut a period so that a chart can be read: at most 53 bars."""
    if length <= timedelta(days=2):
        return "hour", timedelta(hours=1)
    if length <= timedelta(days=45):
        return "day", timedelta(days=1)
    return "week", timedelta(weeks=1)


def _part(at: datetime, one: Tally, width: timedelta) -> Part:
    label = at.strftime("%H:%M") if width < timedelta(days=1) else f"{at.day} {at:%b}"
    return Part(at, label, one.succeeded, one.failed, one.cancelled, one.skipped, one.success_rate)


def _counts(one: Tally) -> tuple[int, int, int, int, int, float | None, float | None]:
    return one.runs, one.succeeded, one.failed, one.cancelled, one.skipped, one.success_rate, one.average_seconds


def _run_row(row: Any) -> Row:
    return (
        row.job_id,
        row.schedule_id,
        row.schedule_name,
        row.task_type,
        row.trigger,
        row.status,
        row.reason,
        row.scheduled_for,
        row.started_at,
        row.finished_at,
        row.duration_seconds,
        row.attempt,
        row.error,
        row.skip_count,
    )


def _schedule_row(row: Any, one: Tally) -> Row:
    return (
        row.schedule_id,
        row.name,
        row.task_type,
        _when(row),
        row.timezone,
        row.enabled,
        one.succeeded,
        one.failed,
        one.cancelled,
        one.skipped,
        one.success_rate,
        one.average_seconds,
        row.last_run_at,
        row.last_status,
        row.last_error,
        row.next_run_at,
    )


def _when(row: Any) -> str:
    if row.frequency == "cron":
        return f"cron {row.cron_expression}"
    if row.frequency == "interval":
        return f"every {row.interval_seconds} s"
    return str(row.frequency)


def _table(key: str, title: str, columns: tuple[Column, ...], rows: list[Any], empty: str, note: str = "") -> Table:
    given: Callable[[], Iterator[Row]] = lambda: iter(rows)  # noqa: E731 - typed
    return Table(key, title, columns, given, empty, note if rows else "")
