"""Dependencies and their known vulnerabilities: the part of an analysis that `include_dependencies` adds.

Called by services/worker/tasks/analysis.py. Leaves `dependencies.cdx.json`, a block for the result, and, where an
endpoint could be asked, one more tool's report for the SARIF file.
"""

from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson

from services.worker.analysis import bill_of_materials
from services.worker.analysis.dependencies import Inventory, inventory
from services.worker.analysis.findings import Finding, Rule, ToolReport, sorted_findings
from services.worker.analysis.severity import LEVELS, SEVERITIES
from services.worker.analysis.vulnerabilities import Audit, NotAudited, Vulnerability, audit
from services.worker.task import PermanentError, TaskContext

_FILES_LISTED = 50
_UNREAD_LISTED = 20
_WORST_LISTED = 20


def examine(
    context: TaskContext, folder: Path, files: Sequence[Path], *, repository: str, commit: str
) -> tuple[dict[str, Any], ToolReport | None]:
    """List the packages, audit them, store the document. Raises PermanentError should the document break its schema."""
    listed = inventory(folder, files)
    audited, sentence = _audited(context, listed)
    found = audited.found if audited else []
    bom = bill_of_materials.document(
        listed,
        found,
        repository=repository,
        commit=commit,
        run=f"commandcenter:job:{context.job_id}:{context.attempt}",
        now=context.started_at,
    )
    if broken := bill_of_materials.problems(bom):
        raise PermanentError(f"{bill_of_materials.NAME} breaks its schema: {broken}")
    data = BytesIO(orjson.dumps(bom, option=orjson.OPT_INDENT_2))
    context.save(bill_of_materials.NAME, data, bill_of_materials.MEDIA_TYPE)
    return _block(listed, audited, sentence), _report(audited) if audited else None


def _audited(context: TaskContext, listed: Inventory) -> tuple[Audit | None, str]:
    """The audit, or None; and what is said about it in the result."""
    url, seconds = context.settings.osv_url, context.settings.osv_timeout_seconds
    if url is None:
        return None, "not audited: no endpoint is set (COMMANDCENTER_OSV_URL)"
    try:
        return audit(url, listed.packages, min(seconds, context.timeout_seconds / 2)), "audited"
    except NotAudited as error:
        return None, f"not audited: {error}"


def _block(listed: Inventory, audited: Audit | None, sentence: str) -> dict[str, Any]:
    versions = [one.version for one in listed.packages]
    return {
        "packages": len(listed.packages),
        "without_version": versions.count(None),
        "by_ecosystem": dict(Counter(one.ecosystem for one in listed.packages)),
        "files": dict(listed.files.most_common(_FILES_LISTED)),
        "unread": dict(list(listed.unread.items())[:_UNREAD_LISTED]),
        "audit": sentence,
        "vulnerabilities": audited and _vulnerabilities(audited),
    }


def _vulnerabilities(audited: Audit) -> dict[str, Any]:
    severities = Counter(one.severity for one in audited.found)
    worst = sorted(audited.found, key=lambda one: (SEVERITIES.index(one.severity), -(one.score or 0.0)))
    return {
        "total": len(audited.found),
        "packages": len({one.package for one in audited.found}),
        "packages_asked": audited.asked,
        "without_details": audited.without_details,
        "by_severity": {severity: severities[severity] for severity in SEVERITIES},
        "worst": [_row(one) for one in worst[:_WORST_LISTED]],
    }


def _row(one: Vulnerability) -> dict[str, Any]:
    return {
        "id": one.vulnerability_id,
        "aliases": list(one.aliases[:5]),
        "package": one.package.name,
        "version": one.package.version,
        "severity": one.severity,
        "score": one.score,
        "fixed_in": list(one.fixed_in),
        "summary": one.summary,
    }


def _report(audited: Audit) -> ToolReport:
    findings = []
    for one in audited.found:
        uri = f"https://osv.dev/vulnerability/{one.vulnerability_id}"
        rule = Rule(one.vulnerability_id, one.summary or one.vulnerability_id, uri)
        advice = f"; fixed in {', '.join(one.fixed_in)}" if one.fixed_in else ""
        text = f"{one.package.name} {one.package.version} has a known vulnerability ({one.severity}): "
        details = {
            "package": one.package.purl,
            "severity": one.severity,
            "score": one.score,
            "aliases": list(one.aliases),
            "fixed_in": list(one.fixed_in),
        }
        for path, line in one.package.places:
            message = f"{text}{rule.name}{advice}"
            findings.append(
                Finding(rule, LEVELS[one.severity], message, path, line, properties=details, marked_by=one.package.name)
            )
    return ToolReport("osv", "1", "https://osv.dev/", sorted_findings(findings))
