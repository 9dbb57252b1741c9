"""The first span of a scheduled run's trace: its dispatch. The worker's and the health service's hang below it.

The ids are made with the message (encoding.py), since the message carries them away; the span itself is told once the
batch is committed, and only where traces are exported.
"""

from collections.abc import Sequence
from datetime import datetime

from opentelemetry.trace import SpanKind

from services.dispatcher.encoding import Stored
from shared.events.due import DueRun, due_message
from shared.events.envelope import Message
from shared.storage.dispatch import NewJob
from shared.telemetry.tracing import begin_span, export_root, is_sampled


def traceparents(rows: Sequence[Stored]) -> dict[int, str]:
    """What the messages of these outbox rows carry, by job."""
    found: dict[int, str] = {}
    for row in rows:
        for message in row.messages:
            headers = dict(message.headers)
            if "traceparent" in headers:
                found[int(str(headers["ce_jobid"]))] = str(headers["traceparent"])
    return found


def tell(jobs: Sequence[NewJob], carried: dict[int, str], began: datetime, ended: datetime) -> None:
    """A span for each dispatched job whose trace is kept."""
    for job in jobs:
        traceparent = carried.get(job.job_id)
        if traceparent is not None and is_sampled(traceparent):
            about: dict[str, str | int] = {
                "schedule_id": job.schedule_id,
                "job_id": job.job_id,
                "trigger": str(job.trigger),
            }
            export_root(f"dispatch {job.task_type}", traceparent, began, ended, **about)


def again(run: DueRun, now: datetime) -> Message:
    """The message of a later attempt, or of a job whose turn has come: the beginning of a trace of its own."""
    dispatch, traceparent = begin_span(
        f"dispatch {run.task_type}",
        None,
        SpanKind.PRODUCER,
        schedule_id=run.schedule_id,
        job_id=run.job_id,
        attempt=run.attempt,
        trigger=run.trigger,
    )
    dispatch.end()
    return due_message(run, now, traceparent)
