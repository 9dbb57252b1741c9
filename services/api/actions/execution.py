"""Running a schedule by hand."""

from services.api.actions.creation import instant
from services.api.actions.editing import locked
from services.api.actions.requests import Requested, requested
from services.api.answers import Answer, second
from services.api.caller import Caller
from services.api.problems import Problem
from shared.domain.catchup import GRACE
from shared.domain.job import Trigger
from shared.domain.overlap import OverlapPolicy
from shared.domain.recurrence import next_after
from shared.domain.schedule import Timer, recurrence_of, timer_at
from shared.storage import job_queries, jobs, outbox, schedules
from shared.storage.database import Connection
from shared.storage.schedules import StoredSchedule
from shared.telemetry.tracing import current_traceparent


def execute(connection: Connection, schedule_id: int, force: bool, caller: Caller) -> Answer:
    """202 with the job. Without `force` only a due occurrence runs, and it is claimed; else 409."""
    stored, now = locked(connection, schedule_id, caller)
    timer, occurrence = stored.timer, now
    if force:
        job_id = jobs.insert_manual(connection, schedule_id, now, current_traceparent())
    else:
        if not stored.definition.enabled:
            raise Problem(409, f"Schedule {schedule_id} is disabled; send force: true to execute it anyway.")
        if timer.next_run_at is None or timer.next_run_at > now:
            raise Problem(409, f"Schedule {schedule_id} is not due; send force: true to execute it anyway.")
        if stored.definition.overlap_policy != OverlapPolicy.ALLOW and job_queries.any_open(connection, schedule_id):
            raise Problem(409, f"Schedule {schedule_id} has a run that has not ended; send force: true to ignore it.")
        trigger = Trigger.SCHEDULE if now - timer.next_run_at <= GRACE else Trigger.CATCHUP  # as the tick says it
        occurrence = timer.occurrence or now
        timer = _advance(stored)
        schedules.set_timer(connection, schedule_id, timer, claimed=occurrence)
        job_id = jobs.insert_job(
            connection,
            schedule_id,
            trigger=trigger,
            scheduled_for=occurrence,
            now=now,
            traceparent=current_traceparent(),
        )
    if job_id is None:
        raise Problem(409, f"The due occurrence of schedule {schedule_id} has been dispatched already.")
    definition = stored.definition
    job = Requested(job_id, schedule_id, definition.project_id, definition.task_type, occurrence)
    outbox.add(connection, [requested("execute", job, caller.actor, now, forced=force)])
    body = {
        "schedule_id": schedule_id,
        "schedule_name": definition.name,
        "job_id": job_id,
        "executed_at": second(now),
        "next_run_at": timer.next_run_at,
        "message": f"Schedule executed successfully, job {job_id} created",
    }
    line = f"Executed schedule {schedule_id}, created job {job_id}, next run at {instant(timer)}"
    fields = {"schedule_id": schedule_id, "job_id": job_id, "action": "schedule.executed", "force": force}
    return Answer(202, body, {"Location": f"/api/v1/jobs/{job_id}"}, log=(line, fields))


def _advance(stored: StoredSchedule) -> Timer:
    """The timer behind the occurrence that is due: the dispatcher's own step."""
    recurrence = recurrence_of(stored.definition, stored.created_at)
    occurrence = stored.timer.occurrence
    return Timer() if occurrence is None else timer_at(recurrence, stored.id, next_after(recurrence, occurrence))
