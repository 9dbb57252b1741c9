"""Sending a dead letter again, as `python -m services.worker.dead resend` does, but through the outbox.

A run whose job has ended runs anew as a manual job (the same event would be refused: its attempt has been claimed).
Anything else goes back to its topic byte for byte, for a consumer that can read it now.
"""

import re
from typing import Any

from services.api.actions.requests import Requested, requested
from services.api.answers import Answer
from services.api.caller import Caller
from services.api.problems import Problem, not_found
from shared.domain.job import OPEN
from shared.events.envelope import UnreadableEvent, decode
from shared.events.topics import OBJECTS, RUNS_CONTROL, RUNS_REQUESTS, RUNS_RESULTS, SCHEDULES, TASK_TYPE_NAME
from shared.events.types import RunDue
from shared.storage import dead_letters, job_queries, jobs, outbox, schedules
from shared.storage.database import Connection
from shared.telemetry.tracing import current_traceparent

_CHANGE_ID = re.compile(rb"schedule-(\d{1,18})-(\d{1,18})")


def resend(connection: Connection, letter_id: int, caller: Caller) -> Answer:
    """202, or Problem 404 or 409."""
    row = dead_letters.get(connection, letter_id, lock=True)
    if row is None or not in_sight(caller, row.project_id):
        raise not_found("dead letter", letter_id)
    headers = dead_letters.headers_of(row)
    value = None if row.value is None else bytes(row.value)
    due = _due(headers, value)
    if due is not None:
        job_id, topic = _run_again(connection, due, caller), None
        said = f"Job {job_id} runs the work of job {due.job_id} again"
    else:
        job_id, topic = None, _topic(connection, row, headers)
        outbox.add_verbatim(connection, topic, None if row.key is None else bytes(row.key), headers, value)
        outbox.notify(connection, outbox.OUTBOX_CHANNEL)
        said = f"The message goes to {topic} again, as it was"
    dead_letters.note_resend(connection, letter_id, caller.principal.name, job_id)
    fields = {"schedule_id": row.schedule_id, "job_id": job_id or row.job_id, "action": "dead_letter.resent"}
    return Answer(
        202,
        {"dead_letter_id": letter_id, "job_id": job_id, "topic": topic, "message": said},
        {} if job_id is None else {"Location": f"/api/v1/jobs/{job_id}"},
        log=(f"Dead letter {letter_id} is sent again: {said}", fields),
    )


def in_sight(caller: Caller, project_id: int | None) -> bool:
    """What belongs to no project is for those who see all of them."""
    if project_id is None:
        return caller.principal.project_ids is None
    return caller.principal.sees(project_id)


def _due(headers: dead_letters.Headers, value: bytes | None) -> RunDue | None:
    try:
        event = decode(headers, value)
    except UnreadableEvent:
        return None
    return event.data if isinstance(event.data, RunDue) else None


def _run_again(connection: Connection, due: RunDue, caller: Caller) -> int:
    now = schedules.lock_timer(connection, due.schedule_id)
    stored = schedules.get(connection, due.schedule_id) if now is not None else None
    if now is None or stored is None or not caller.principal.sees(stored.definition.project_id):
        raise Problem(409, f"The schedule of job {due.job_id} has been deleted.")
    job = job_queries.get(connection, due.job_id)
    if job is not None and job.status in OPEN:
        raise Problem(409, f"Job {due.job_id} has not ended: it is {job.status}.")
    made = jobs.insert_manual(connection, due.schedule_id, now, current_traceparent())
    if made is None:
        raise Problem(409, f"The schedule of job {due.job_id} has been deleted.")
    definition = stored.definition
    asked = Requested(made, due.schedule_id, definition.project_id, definition.task_type, now)
    outbox.add(connection, [requested("retry", asked, caller.actor, now, retry_of=due.job_id)])
    return made


def _topic(connection: Connection, row: Any, headers: dead_letters.Headers) -> str:
    """Where a message may go again. Raises Problem 409."""
    topic: str = row.topic or ""
    if row.truncated:
        raise Problem(409, "Only a part of this message was kept: it cannot be sent again.")
    if topic in {RUNS_RESULTS.name, RUNS_CONTROL.name, RUNS_REQUESTS.name, OBJECTS.name}:
        return topic
    if topic.startswith("runs.due.") and TASK_TYPE_NAME.fullmatch(topic.removeprefix("runs.due.")):
        return topic
    if topic != SCHEDULES.name:
        raise Problem(409, f"The letter names no topic that it could go to again: {topic[:100] or 'none'}.")
    # The topic keeps the last message of each key: an older change that came again would hide the newer ones.
    named = _CHANGE_ID.fullmatch(dict(headers).get("ce_id") or b"")
    stored = schedules.get(connection, int(named[1])) if named is not None else None
    if named is None or stored is None or stored.version != int(named[2]):
        raise Problem(409, "This is not the last change of a schedule: sent again, it would hide the later ones.")
    return topic
