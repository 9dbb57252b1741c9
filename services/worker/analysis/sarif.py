"""SARIF 2.1.0 (OASIS): all tools' reports as one document, one run a tool, checked against the official schema.

`sarif-schema-2.1.0.json` beside this file is OASIS's own (sarif-2.1/schema of oasis-tcs/sarif-spec), unchanged.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from services.worker.analysis.findings import Finding, Rule, ToolReport, fingerprints

SCHEMA_URI = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
FINGERPRINT = "commandcenter/v1"
MEDIA_TYPE = "application/sarif+json"

Marks = dict[str, set[str]]
"""Fingerprints of findings, by the tool that made them."""


def document(
    reports: list[ToolReport], folder: Path, *, url: str, commit: str, branch: str | None, known: Marks | None
) -> dict[str, Any]:
    """The document. `known`: the fingerprints of an earlier analysis to compare with; None compares with nothing."""
    known = known or {}
    control = {"repositoryUri": _uri(url), "revisionId": commit} | ({"branch": branch} if branch else {})
    return {
        "$schema": SCHEMA_URI,
        "version": "2.1.0",
        "runs": [_run(report, folder, control, known.get(report.tool)) for report in reports],
    }


def marks(sarif: dict[str, Any]) -> Marks:
    """The fingerprints in a document of ours, by tool."""
    return {
        run["tool"]["driver"]["name"]: {
            mark
            for result in run.get("results", ())
            if (mark := result.get("partialFingerprints", {}).get(FINGERPRINT)) is not None
        }
        for run in sarif.get("runs", ())
    }


def problems(sarif: dict[str, Any], limit: int = 5) -> list[str]:
    """Where the document breaks the schema; empty when nowhere."""
    found = []
    for error in _validator().iter_errors(sarif):
        found.append(f"{error.json_path}: {error.message[:200]}")
        if len(found) == limit:
            break
    return found


@lru_cache(maxsize=1)
def _validator() -> Any:
    from jsonschema import Draft4Validator

    schema = orjson.loads(Path(__file__).with_name("sarif-schema-2.1.0.json").read_bytes())
    return Draft4Validator(schema)


def _run(report: ToolReport, folder: Path, control: dict[str, str], known: set[str] | None) -> dict[str, Any]:
    rules: dict[str, tuple[int, Rule]] = {}
    for finding in report.findings:
        rules.setdefault(finding.rule.rule_id, (len(rules), finding.rule))
    results = [
        _result(finding, rules[finding.rule.rule_id][0], mark, known)
        for finding, mark in zip(report.findings, fingerprints(folder, report), strict=True)
    ]
    driver = {
        "name": report.tool,
        "version": report.version,
        "informationUri": report.information_uri,
        "rules": [_rule(rule) for _, rule in rules.values()],
    }
    return {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "versionControlProvenance": [control],
        "results": results,
    }


def _rule(rule: Rule) -> dict[str, Any]:
    described = {"id": rule.rule_id, "shortDescription": {"text": rule.name}}
    return described | ({"helpUri": rule.help_uri} if rule.help_uri else {})


def _result(finding: Finding, rule_index: int, mark: str, known: set[str] | None) -> dict[str, Any]:
    places = {"startColumn": finding.column, "endLine": finding.end_line, "endColumn": finding.end_column}
    region = {"startLine": finding.line} | {name: value for name, value in places.items() if value is not None}
    result: dict[str, Any] = {
        "ruleId": finding.rule.rule_id,
        "ruleIndex": rule_index,
        "level": finding.level,
        "message": {"text": finding.message},
        "locations": [
            {"physicalLocation": {"artifactLocation": {"uri": quote(finding.path)}, "region": region}},
        ],
        "partialFingerprints": {FINGERPRINT: mark},
    }
    if known is not None:
        result["baselineState"] = "unchanged" if mark in known else "new"
    if finding.properties:
        result["properties"] = finding.properties
    return result


def _uri(url: str) -> str:
    """A repository's URL as a URI: SARIF knows no scp-like form."""
    if "://" in url:
        return url
    if url.startswith("/"):
        return "file://" + quote(url)
    return "ssh://" + url.replace(":", "/", 1)
