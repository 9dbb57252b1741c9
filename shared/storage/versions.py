"""What a stored version of a schedule keeps of it (table schedule_versions): enough for its jobs' later attempts.

A job runs the version it was claimed with, whatever an edit says meanwhile: its name, parameters and tags, and the
policies by which its attempts run. Versions from before migration 0013 have no policies: the schedule's count then.
"""

POLICIES = (
    "retry_first_seconds",
    "retry_cap_seconds",
    "timeout_seconds",
    "start_deadline_seconds",
    "queue_timeout_seconds",
)
KEPT = ", ".join(("name", "task_type", "task_parameters", "tags", *POLICIES))
"""The columns of both tables."""


def policy(name: str) -> str:
    """A policy as the version `v` has it, else the schedule `s` (SQL)."""
    return f"CASE WHEN v.timeout_seconds IS NULL THEN s.{name} ELSE v.{name} END"


RUN_POLICY = ", ".join(f"{policy(name)} AS {name}" for name in POLICIES[:4])
"""The policies that a run.due carries."""
QUEUE_TIMEOUT = f"""coalesce((SELECT {policy("queue_timeout_seconds")} FROM schedules AS s
    LEFT JOIN schedule_versions AS v ON v.schedule_id = s.id AND v.version = j.schedule_version
    WHERE s.id = j.schedule_id), 86400)"""  # noqa: S608 (constants)
"""How long the job `j` may wait in the queue."""
