"""The findings of a project's repositories, read from the SARIF files of their analyses in the artifact store.

Used by contents.py (tables) and formats/as_sarif.py (the merged file). A file is copied from the store once, then read
as often as needed; one that is gone or unreadable becomes a note of the report, never a failed report.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from services.worker.tasks.export.report import Row
from services.worker.tasks.export.sarif_reader import Result, RunFacts, SarifUnreadable, read
from shared.artifacts import ArtifactMissing, ArtifactStore
from shared.storage.reports import Analysis

LEVELS = ("error", "warning", "note", "none")
_DEFAULT_LEVEL = "warning"  # SARIF 2.1.0, section 3.27.10


@dataclass(slots=True)
class SarifFile:
    """One file of an analysis, copied, with what its runs say beside their results."""

    analysis: Analysis
    copy: BinaryIO
    runs: dict[int, dict[str, Any]] = field(default_factory=dict)

    def results(self) -> Iterator[Result]:
        """Its results, one by one. One reader at a time: they share the copy."""
        self.copy.seek(0)
        for one in read(self.copy):
            if isinstance(one, Result):
                yield one


class Findings:
    """All findings. Open it as a context: the copies live as long."""

    def __init__(self, store: ArtifactStore, analyses: list[Analysis]) -> None:
        self.files: list[SarifFile] = []
        self.notes: list[str] = []
        self.levels: Counter[str] = Counter()
        """Of what stands at the period's end: without the fixed ones."""
        self.states: Counter[str] = Counter()
        self.repositories = len({one.repository_id for one in analyses})
        self.total = 0
        """With the fixed ones."""
        self.by_repository: dict[tuple[int, str], Counter[str]] = {}
        self._store = store
        self._analyses = analyses
        self._open = ExitStack()

    def __enter__(self) -> "Findings":
        for analysis in self._analyses:
            self.by_repository.setdefault((analysis.repository_id, analysis.repository), Counter())
            if not analysis.files:
                self.notes.append(f"Analysis {analysis.job_id} of {analysis.repository} left no SARIF file.")
            for name in analysis.files:
                self._take(analysis, name)
        for file, _result, level, state in self._each():
            self.total += 1
            self.states[state] += 1
            if state == "fixed":
                continue
            self.levels[level] += 1
            self.by_repository[(file.analysis.repository_id, file.analysis.repository)][level] += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def rows(self) -> Iterator[Row]:
        """One row a finding, as in contents.FINDING_COLUMNS."""
        for file, result, level, state in self._each():
            uri, line = _place(result.value)
            yield (
                file.analysis.repository,
                level,
                state,
                _rule(result.value),
                _message(result.value),
                uri,
                line,
                _tool(file.runs.get(result.run, {})),
                file.analysis.job_id,
                file.analysis.finished_at,
            )

    def unique(self, file: SarifFile, seen: dict[int, int]) -> Iterator[Result]:
        """The file's results that no newer analysis of the same repository has told already. `seen` starts empty."""
        job_id = file.analysis.job_id
        for result in file.results():
            if seen.setdefault(_identity(file.analysis.repository_id, result.value), job_id) == job_id:
                yield result

    def _each(self) -> Iterator[tuple[SarifFile, Result, str, str]]:
        seen: dict[int, int] = {}
        for file in self.files:
            for result in self.unique(file, seen):
                yield file, result, _level(result.value, file.runs.get(result.run, {})), _state(result.value)

    def _take(self, analysis: Analysis, name: str) -> None:
        copy = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - nameless: no leftovers, killed or not
        file = SarifFile(analysis, copy)
        try:
            for chunk in self._store.open(analysis.scheduled_for, analysis.job_id, analysis.attempt, name):
                copy.write(chunk)
            copy.seek(0)
            for one in read(copy):
                if isinstance(one, RunFacts):
                    file.runs[one.run] = one.value
        except ArtifactMissing:
            self.notes.append(
                f"The findings of analysis {analysis.job_id} of {analysis.repository} are no longer stored."
            )
        except SarifUnreadable as error:
            self.notes.append(f"{name} of analysis {analysis.job_id} of {analysis.repository} cannot be read: {error}.")
        else:
            self.files.append(file)


def _identity(repository_id: int, result: dict[str, Any]) -> int:
    """Equal for one finding told twice. A fingerprint outlives moved lines; without one, place and words must do."""
    prints = result.get("fingerprints") or result.get("partialFingerprints")
    uri, line = _place(result)
    if isinstance(prints, dict) and prints:
        what: object = tuple(sorted((str(key), str(value)) for key, value in prints.items()))
    else:
        what = (line, _message(result))
    return hash((repository_id, _rule(result), uri, what))


def _level(result: dict[str, Any], run: dict[str, Any]) -> str:
    level = result.get("level")
    if level in LEVELS:
        return str(level)
    if result.get("kind", "fail") != "fail":
        return "none"
    rule = _rule(result)
    for described in _items(run, "tool", "driver", "rules"):
        if described.get("id") == rule:
            level = _inner(described, "defaultConfiguration").get("level")
            return str(level) if level in LEVELS else _DEFAULT_LEVEL
    return _DEFAULT_LEVEL


def _state(result: dict[str, Any]) -> str:
    """Compared with the analysis before: new, unchanged or fixed; empty where nothing was compared."""
    state = str(result.get("baselineState") or "")
    return {"absent": "fixed", "updated": "unchanged"}.get(state, state)


def _rule(result: dict[str, Any]) -> str:
    return str(result.get("ruleId") or _inner(result, "rule").get("id") or "")


def _message(result: dict[str, Any]) -> str:
    message = _inner(result, "message")
    return str(message.get("text") or message.get("markdown") or message.get("id") or "")


def _place(result: dict[str, Any]) -> tuple[str, int | None]:
    for location in _items(result, "locations"):
        physical = _inner(location, "physicalLocation")
        line = _inner(physical, "region").get("startLine")
        return str(_inner(physical, "artifactLocation").get("uri") or ""), line if isinstance(line, int) else None
    return "", None


def _tool(run: dict[str, Any]) -> str:
    return str(_inner(_inner(run, "tool"), "driver").get("name") or "")


def _inner(value: dict[str, Any], key: str) -> dict[str, Any]:
    inner = value.get(key)
    return inner if isinstance(inner, dict) else {}


def _items(value: dict[str, Any], *path: str) -> list[dict[str, Any]]:
    for key in path[:-1]:
        value = _inner(value, key)
    found = value.get(path[-1])
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
