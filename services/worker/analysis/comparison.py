"""Comparison with the previous successful analysis of the same repository and of the same type.

Used by services/worker/tasks/analysis.py. Findings are the same when their fingerprints are; only tools that took part
both times are compared, so that a tool which was added or could not run makes nothing "new" and nothing "fixed".
"""

from dataclasses import dataclass
from typing import Any

import orjson

from services.worker.analysis import sarif
from services.worker.task import TaskContext
from shared.artifacts import ArtifactMissing
from shared.events.task_types import AnalysisParameters
from shared.storage import subjects

SARIF_NAME = "analysis.sarif"


@dataclass(frozen=True, slots=True)
class Previous:
    """The analysis to compare with."""

    job_id: int
    marks: sarif.Marks


def previous(context: TaskContext, parameters: AnalysisParameters) -> Previous | None:
    """The one before this; None where there is none, or its file is gone (expired) or damaged."""
    with context.database.transaction() as connection:
        job = subjects.previous_analysis(
            connection,
            context.project_id,
            context.schedule_id,
            context.job_id,
            parameters.repository_id,
            parameters.analysis_type,
        )
    if job is None:
        return None
    try:
        chunks = context.resources.store.open(job.scheduled_for, job.job_id, job.attempt, SARIF_NAME)
        return Previous(job.job_id, sarif.marks(orjson.loads(b"".join(chunks))))
    except (ArtifactMissing, ValueError, KeyError):
        return None


def compared(found: sarif.Marks, before: Previous | None) -> dict[str, Any] | None:
    """Counts for the result: new, fixed, unchanged, and with which job; None where there is nothing to compare with."""
    if before is None:
        return None
    tools = found.keys() & before.marks.keys()
    now = {(tool, mark) for tool in tools for mark in found[tool]}
    then = {(tool, mark) for tool in tools for mark in before.marks[tool]}
    return {
        "new": len(now - then),
        "fixed": len(then - now),
        "unchanged": len(now & then),
        "previous_job_id": before.job_id,
    }
