"""What a batch tells when its operations have told too much for one event."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from services.worker.settings import Settings
from services.worker.task import Resources, TaskContext
from services.worker.tasks.batch import _checked, _handlers
from services.worker.tasks.batch_report import FILE, report
from shared.events.task_types import BatchParameters
from shared.storage.batch_progress import Ended

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def test_results_too_large_for_an_event_are_a_file(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, worker_result_limit_bytes=60_000)
    context = TaskContext(5, 1, 7, "nightly", 1, "batch", NOW, "schedule", {}, NOW, 60.0, Resources(settings))
    parameters = BatchParameters.model_validate({"operations": [{"task_type": "health_check"}] * 100})
    steps = _checked(parameters, _handlers())
    ended = {
        place: Ended(place, 1, "failed", True, 0.5, result={"text": "x" * 2_000}, error="e" * 2_000, reason="error")
        for place in range(1, 100)
    }
    told = report(context, parameters, steps, ended, ())
    assert len(json.dumps(told)) < 60_000 + 20_000 * 2  # the errors alone were three times as much
    assert (told["failed"], told["not_run"], len(told["operations"])) == (99, 1, 100)
    assert all(one["result"] is None and one["result_in"] == FILE for one in told["operations"])
    stored = json.loads(b"".join(context.resources.store.open(NOW, 5, 1, FILE)))
    assert [one["result"] for one in stored["operations"][:99]] == [{"text": "x" * 2_000}] * 99
    assert [artifact.name for artifact in context.artifacts] == [FILE]
