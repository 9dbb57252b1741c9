"""The handler of `export`: one snapshot of the database, one report, one artifact. Runs in a process of its own."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, BinaryIO

from services.worker.task import PermanentError, TaskContext, TemporaryError, task
from services.worker.tasks.export import contents
from services.worker.tasks.export.findings import Findings
from services.worker.tasks.export.formats import as_csv, as_html, as_json, as_markdown, as_pdf, as_sarif, as_xlsx
from services.worker.tasks.export.report import Head, Report, plain
from shared.events.task_types import ExportParameters
from shared.storage import reports, subjects
from shared.storage.database import Connection, DatabaseUnavailable
from shared.storage.reports import Scope


@dataclass(frozen=True, slots=True)
class Format:
    """What a format's file is called and how it is written."""

    extension: str
    media_type: str
    write: Callable[[Report, BinaryIO], int] | None
    """None: SARIF, which is written from the findings themselves."""


FORMATS = {
    "csv": Format("csv", "text/csv", as_csv.write),
    "html": Format("html", "text/html", as_html.write),
    "json": Format("json", "application/json", as_json.write),
    "markdown": Format("md", "text/markdown", as_markdown.write),
    "pdf": Format("pdf", "application/pdf", as_pdf.write),
    "sarif": Format("sarif", "application/sarif+json", None),
    "xlsx": Format("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", as_xlsx.write),
}


@task("export", ExportParameters, concurrency=2)
def export(context: TaskContext, parameters: ExportParameters) -> dict[str, Any]:
    """Write a report of a project over a period."""
    # SARIF can say nothing but findings: it is a summary's findings too.
    report_type = "findings" if parameters.format == "sarif" else parameters.report_type
    form = FORMATS[parameters.format]
    until = context.scheduled_for
    scope = Scope(context.project_id, until - timedelta(days=parameters.period_days), until)
    # The file's name is ours alone: nothing in it comes from users.
    name = f"{report_type}-{until:%Y-%m-%d}.{form.extension}"
    with tempfile.TemporaryFile() as stream:
        try:
            with context.database.transaction() as connection:
                reports.freeze(connection)
                head = _head(connection, context, parameters, report_type, scope)
                rows, figures = _write(connection, context, parameters, scope, head, stream)
        except DatabaseUnavailable as error:
            raise TemporaryError(f"the database went away: {error}") from error
        stream.seek(0)
        artifact = context.save(name, stream, form.media_type)
    return {
        "artifact": artifact.name,
        "format": parameters.format,
        "report_type": report_type,
        "rows": rows,
        "size": artifact.size,
        "period": {"from": plain(scope.since), "to": plain(scope.until)},
        "figures": figures,
    }


def _head(
    connection: Connection, context: TaskContext, parameters: ExportParameters, report_type: str, scope: Scope
) -> Head:
    project = reports.project_name(connection, context.project_id)
    if project is None:
        raise PermanentError(f"project {context.project_id} does not exist")
    repository = None
    if parameters.repository_id is not None:
        found = subjects.repository(connection, parameters.repository_id)
        if found is None or found.project_id != context.project_id:
            raise PermanentError(
                f"repository {parameters.repository_id} does not exist in project {context.project_id}"
            )
        repository = found.name
    return Head(
        report_type,
        contents.TITLES[report_type],
        context.project_id,
        project,
        scope.since,
        scope.until,
        context.started_at,
        context.schedule_name,
        repository,
    )


def _write(
    connection: Connection,
    context: TaskContext,
    parameters: ExportParameters,
    scope: Scope,
    head: Head,
    stream: BinaryIO,
) -> tuple[int, dict[str, Any]]:
    """Write the file; returns its rows and the key figures."""
    with ExitStack() as opened:
        findings = None
        if head.report_type in {"findings", "summary"}:
            analyses = reports.analyses(connection, scope, parameters.repository_id)
            findings = opened.enter_context(Findings(context.resources.store, analyses))
        report = contents.report(connection, scope, head, findings)
        figures = {figure.key: plain(figure.value) for figure in report.figures}
        write = FORMATS[parameters.format].write
        if write is not None:
            return write(report, stream), figures
        if findings is None:
            raise PermanentError("SARIF carries findings only")
        return as_sarif.write(head, findings, stream), figures
