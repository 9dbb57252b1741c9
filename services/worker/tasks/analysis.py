"""analysis: fetches a repository, runs the tools over it, and leaves one SARIF 2.1.0 file and a summary.

`security` runs bandit and detect-secrets, `quality` ruff and lizard, `full` all of them. Findings are compared with the
repository's previous analysis of the same type: new, fixed, unchanged. `include_dependencies` adds an inventory and its
known vulnerabilities, `notify_on_completion` a mail. Nothing of the repository is ever executed.
"""

import shutil
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson

from services.worker.task import PermanentError, TaskContext, task
from shared import clock
from shared.events.task_types import AnalysisParameters
from shared.storage import subjects


@task("analysis", AnalysisParameters, concurrency=2)
def analysis(context: TaskContext, parameters: AnalysisParameters) -> dict[str, Any]:
    """Analyse a repository's code."""
    started = clock.monotonic()
    with context.database.transaction() as connection:
        repository = subjects.repository(connection, parameters.repository_id)
    if repository is None or repository.project_id != context.project_id:
        raise PermanentError(f"repository {parameters.repository_id} does not exist in project {context.project_id}")
    scratch = Path(tempfile.mkdtemp(prefix="commandcenter-analysis-"))
    try:
        result = _analyse(context, parameters, repository, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    result |= {"warnings": [], "notified": 0}
    if parameters.notify_on_completion:
        from services.worker.analysis.notification import notify

        left = context.timeout_seconds - (clock.monotonic() - started)
        seconds = max(1.0, min(context.settings.smtp_timeout_seconds, left / 3))
        result["notified"], result["warnings"] = notify(context, result, parameters.notification_emails, seconds)
    return result | {"duration_seconds": round(clock.monotonic() - started, 3)}


def _analyse(
    context: TaskContext, parameters: AnalysisParameters, repository: subjects.Repository, scratch: Path
) -> dict[str, Any]:
    from services.worker.analysis import comparison, sarif, supply_chain, tools
    from services.worker.analysis.findings import summary
    from services.worker.git import GitCache, judged

    source = judged(repository.url, context.settings)
    folder = scratch / "files"
    folder.mkdir()
    with GitCache(context.settings).opened(repository.repository_id) as bare:
        branch = repository.default_branch or bare.default_branch(source)
        commit = bare.fetch_tip(source, branch)
        bare.check_out(commit, folder)
    files = tools.files_of(folder)
    seconds = context.timeout_seconds
    reports = []
    if parameters.analysis_type in {"full", "security"}:
        reports += [tools.bandit(folder, seconds), tools.secrets(folder, files, seconds)]
    if parameters.analysis_type in {"full", "quality"}:
        reports += [tools.ruff(folder, seconds), tools.lizard(folder, files)]
    dependencies = None
    if parameters.include_dependencies:
        dependencies, report = supply_chain.examine(context, folder, files, repository=repository.name, commit=commit)
        reports += [report] if report else []
    before = comparison.previous(context, parameters)
    known = before.marks if before else None
    document = sarif.document(reports, folder, url=repository.url, commit=commit, branch=branch, known=known)
    if broken := sarif.problems(document):
        raise PermanentError(f"the SARIF file breaks its schema: {broken[0]}")
    context.save(comparison.SARIF_NAME, BytesIO(orjson.dumps(document, option=orjson.OPT_INDENT_2)), sarif.MEDIA_TYPE)
    return {
        "repository_id": repository.repository_id,
        "repository": repository.name,
        "analysis_type": parameters.analysis_type,
        "commit": commit,
        "branch": branch,
        "files": len(files),
        "findings": summary(reports),
        "compared_with_previous": comparison.compared(sarif.marks(document), before),
        "dependencies": dependencies,
    }
