"""Findings: what a tool has to say about one place, in one form for all tools."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LEVELS = ("error", "warning", "note")
TOP_RULES = 20
_LITERAL = re.compile(r"(\"|')(?:\\.|(?!\1)[^\\])*\1")


@dataclass(frozen=True, slots=True)
class Rule:
    """What a tool checks for."""

    rule_id: str
    name: str
    help_uri: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. Lines and columns count from 1; `path` is relative to the repository, with `/`."""

    rule: Rule
    level: str
    message: str
    path: str
    line: int
    column: int | None = None
    end_line: int | None = None
    end_column: int | None = None
    properties: dict[str, Any] = field(default_factory=dict)
    marked_by: str | None = None
    """What tells it from others in its file, where the line's text must not or cannot."""


@dataclass(frozen=True, slots=True)
class ToolReport:
    """What one tool found."""

    tool: str
    version: str
    information_uri: str
    findings: list[Finding]


def summary(reports: Sequence[ToolReport]) -> dict[str, Any]:
    """Counts for a job's result."""
    every = [(report.tool, finding) for report in reports for finding in report.findings]
    levels = Counter(finding.level for _, finding in every)
    rules = Counter(f"{tool}/{finding.rule.rule_id}" for tool, finding in every)
    tools = Counter(tool for tool, _ in every)
    return {
        "total": len(every),
        "by_level": {level: levels[level] for level in LEVELS},
        "by_rule": dict(rules.most_common(TOP_RULES)),
        "by_tool": {report.tool: tools[report.tool] for report in reports},
    }


def fingerprints(folder: Path, report: ToolReport) -> list[str]:
    """One stable mark a finding: the same while the line says the same, wherever it moves within its file.

    Made of tool, rule, path, the line's text without blanks and literals, and a count for equal ones. No literal: a
    password could be guessed from its digest.
    """
    lines = _Lines(folder)
    seen: Counter[str] = Counter()
    marks = []
    for finding in report.findings:
        text = lines.of(finding.path, finding.line) if finding.marked_by is None else finding.marked_by
        base = "\0".join((report.tool, finding.rule.rule_id, finding.path, text))
        seen[base] += 1
        marks.append(hashlib.sha256(f"{base}\0{seen[base]}".encode()).hexdigest()[:32])
    return marks


def without_literals(text: str) -> str:
    """Code or a message that quotes code, with every quoted text emptied: it may be somebody's password."""
    return _LITERAL.sub(r"\1\1", text)


class _Lines:
    """Lines of files, each file read once as long as findings come file by file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path: str | None = None
        self._lines: list[str] = []

    def of(self, path: str, line: int) -> str:
        if path != self._path:
            self._path = path
            try:
                self._lines = (self._folder / path).read_text(errors="replace").splitlines()
            except OSError:
                self._lines = []
        found = self._lines[line - 1] if 0 < line <= len(self._lines) else ""
        return "".join(without_literals(found).split())


def sorted_findings(findings: Iterable[Finding]) -> list[Finding]:
    """By place."""
    return sorted(findings, key=lambda one: (one.path, one.line, one.column or 0, one.rule.rule_id))
