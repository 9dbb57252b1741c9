"""What a stranger writes against the generated client: create, execute, follow the job, delete; passes mypy --strict.

Run by test_generated_client.py, in a process that knows nothing of this project but the generated package `client`.
"""

from __future__ import annotations

import sys
import time
from datetime import datetime

from client import Client
from client.api.jobs import get_job, list_jobs
from client.api.schedules import create_schedule, delete_schedule, execute_schedule, get_schedule, list_schedules
from client.models import (
    Executed,
    Job,
    JobList,
    JobStatus,
    Problem,
    Schedule,
    ScheduleCreate,
    ScheduleCreateFrequency,
    ScheduleCreateTags,
    ScheduleExecute,
    ScheduleList,
    ScheduleWritten,
)

OPEN = {JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.RETRYING}


def main(url: str) -> None:
    """Raises AssertionError for whatever is not as the document says."""
    client = Client(base_url=url, raise_on_unexpected_status=True)

    tags = ScheduleCreateTags.from_dict({"team": "strangers"})
    wanted = ScheduleCreate(
        project_id=1,
        name="From a generated client",
        task_type="health_check",
        frequency=ScheduleCreateFrequency.DAILY,
        timezone="America/New_York",
        tags=tags,
    )
    made = create_schedule.sync(client=client, body=wanted)
    assert isinstance(made, ScheduleWritten), made
    assert isinstance(made.next_run_at, datetime)
    assert made.tags.to_dict() == {"team": "strangers"}
    assert made.band is None

    listed = list_schedules.sync(client=client, project_id=1, enabled=True)
    assert isinstance(listed, ScheduleList), listed
    assert made.id in [one.id for one in listed.schedules]

    executed = execute_schedule.sync(made.id, client=client, body=ScheduleExecute(force=True))
    assert isinstance(executed, Executed), executed
    assert executed.message == f"Schedule executed successfully, job {executed.job_id} created"

    deadline = time.monotonic() + 60
    job = get_job.sync(executed.job_id, client=client)
    while isinstance(job, Job) and job.status in OPEN and time.monotonic() < deadline:
        time.sleep(0.1)
        job = get_job.sync(executed.job_id, client=client)
    assert isinstance(job, Job), job
    assert job.status is JobStatus.SUCCEEDED, job.error
    assert isinstance(job.finished_at, datetime)

    jobs = list_jobs.sync(client=client, schedule_id=made.id)
    assert isinstance(jobs, JobList), jobs
    assert [one.id for one in jobs.jobs] == [job.id]

    again = get_schedule.sync(made.id, client=client)
    assert isinstance(again, Schedule), again

    removed = delete_schedule.sync_detailed(made.id, client=client)
    assert removed.status_code == 204
    gone = get_schedule.sync(made.id, client=client)
    assert isinstance(gone, Problem), gone
    assert gone.status == 404

    wanted.task_type = "nothing"
    refused = create_schedule.sync(client=client, body=wanted)
    assert isinstance(refused, Problem), refused
    assert refused.errors
    assert [one.field for one in refused.errors] == ["task_type"]
    print(f"job {job.id} {job.status} in {job.duration_seconds} s")


if __name__ == "__main__":
    main(sys.argv[1])
