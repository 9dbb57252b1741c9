"""SARIF 2.1.0: the findings of all analyses in one file, a run for each run of theirs.

Each run keeps its tool and rules and says in `automationDetails` and `properties` which analysis it came from. What an
older analysis of the same repository has told too is left out there.
"""

from typing import Any, BinaryIO

import orjson

from services.worker.tasks.export.findings import Findings
from services.worker.tasks.export.report import Head, plain
from shared.storage.reports import Analysis

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_TOOL = {"driver": {"name": "CommandCenter"}}


def write(head: Head, findings: Findings, stream: BinaryIO) -> int:
    """Write result by result."""
    stream.write(b'{"$schema":' + orjson.dumps(SCHEMA) + b',"version":"2.1.0","runs":[')
    seen: dict[int, int] = {}
    count, between = 0, b"\n"
    for file in findings.files:
        for number in sorted(file.runs):
            facts = _facts(head, file.analysis, number, file.runs[number])
            stream.write(between + orjson.dumps(facts)[:-1] + b',"results":[')
            written = 0
            for result in findings.unique(file, seen):
                if result.run == number:
                    stream.write((b",\n" if written else b"\n") + orjson.dumps(result.value))
                    written += 1
            stream.write(b"]}")
            count, between = count + written, b",\n"
    stream.write(b"]}\n")
    return count


def _facts(head: Head, analysis: Analysis, number: int, run: dict[str, Any]) -> dict[str, Any]:
    """The run without its results. Indices into arrays of the run (rules, artifacts) stay right: all are kept."""
    kept = {key: value for key, value in run.items() if key != "results"}
    kept.setdefault("tool", _TOOL)
    name = f"{head.project}/{analysis.repository}/{analysis.analysis_type}/{analysis.job_id}"
    kept["automationDetails"] = {**_object(kept.get("automationDetails")), "id": f"{name}/{number}"}
    kept["properties"] = {
        **_object(kept.get("properties")),
        "repository": analysis.repository,
        "repositoryId": analysis.repository_id,
        "analysisJobId": analysis.job_id,
        "analysedAt": plain(analysis.finished_at),
    }
    return kept


def _object(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}
