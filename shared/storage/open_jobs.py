"""Which jobs of a schedule are not over yet: what overlap is judged by, right also while health is away.

health moves a job on, but a worker marks its claim ended after the result's acknowledgement: an attempt whose claim is
ended, and that is not to be retried, is over although the ledger still calls it open. So with health away a schedule
has ever more jobs that look open, and with the workers away ever more that are. However many there are, a look reads
only a few of each schedule: the newest ones, the newest of those that are held back, and those that run right now.
Under the policies that ask, a newer job exists only where the older ones were over or out of the way: the few decide.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from shared.storage.session import Session, array

FEW = 10
_COLUMNS = "j.schedule_id, j.id, j.attempt, j.scheduled_for, j.held, j.project_id, j.task_type"
# Between two attempts the one that counts is the next: it would start, and it alone can be kept from starting.
_AHEAD = _COLUMNS.replace(
    "j.attempt", "CASE WHEN j.status = 'retrying' OR c.will_retry THEN j.attempt + 1 ELSE j.attempt END"
)
_STILL_OPEN = "j.status IN ('queued', 'running', 'retrying')"
_CLAIM = "LEFT JOIN run_claims AS c ON c.job_id = j.id AND c.attempt = j.attempt"
_NOT_OVER = "(c.ended_at IS NULL OR c.will_retry)"

# What looks open of all these schedules, in one scan, as long as it is not much more than the schedules are.
ALL_OPEN = f"""
SELECT {_AHEAD}, coalesce({_NOT_OVER}, false)
FROM (
    SELECT {_COLUMNS}, j.status FROM jobs AS j
    WHERE j.schedule_id = ANY(%(ids)s::bigint[]) AND {_STILL_OPEN}
    ORDER BY j.schedule_id LIMIT %(most)s
) AS j {_CLAIM}
"""  # noqa: S608 (constants)
_NEWEST = f"""
    SELECT {_COLUMNS}, j.status FROM jobs AS j
    WHERE j.schedule_id = {{schedule}} AND {{held}} AND {_STILL_OPEN}
    ORDER BY j.schedule_id, j.held, j.scheduled_for DESC LIMIT {FEW}
"""  # noqa: S608 (constants)
# The same a few of each schedule: dearer a schedule, but whatever happens.
FEW_OPEN = f"""
SELECT few.*
FROM unnest(%(ids)s::bigint[]) AS asked (schedule_id)
CROSS JOIN LATERAL (
    (SELECT {_AHEAD} FROM ({_NEWEST.format(schedule="asked.schedule_id", held="NOT j.held")}) AS j {_CLAIM}
     WHERE {_NOT_OVER})
    UNION ALL
    (SELECT {_AHEAD} FROM ({_NEWEST.format(schedule="asked.schedule_id", held="j.held")}) AS j {_CLAIM}
     WHERE {_NOT_OVER})
    UNION ALL
    (SELECT {_COLUMNS} FROM run_claims AS r JOIN jobs AS j ON j.id = r.job_id AND j.scheduled_for = r.scheduled_for
     WHERE r.schedule_id = asked.schedule_id AND r.ended_at IS NULL AND {_STILL_OPEN}
     ORDER BY r.schedule_id LIMIT {FEW})
) AS few
"""  # noqa: S608 (constants)

# Not EXISTS: PostgreSQL might decide once to hash all open claims instead of looking for one schedule's.
_PUBLISHED = f"""(
    (SELECT true FROM run_claims AS r JOIN jobs AS j ON j.id = r.job_id AND j.scheduled_for = r.scheduled_for
     WHERE r.schedule_id = {{schedule}} AND r.ended_at IS NULL AND {_STILL_OPEN} ORDER BY r.schedule_id LIMIT 1)
    IS NOT NULL
    OR (SELECT true FROM ({_NEWEST.format(schedule="{schedule}", held="NOT j.held")}) AS j {_CLAIM}
        WHERE {_NOT_OVER} LIMIT 1) IS NOT NULL
)"""  # noqa: S608 (constants)


class OpenJob(NamedTuple):
    """A job of a schedule that has not ended: running, waiting for a worker or a retry, or held back.

    `attempt` is the one that runs, or would start next.
    """

    schedule_id: int
    job_id: int
    attempt: int
    scheduled_for: datetime
    held: bool
    project_id: int
    task_type: str


def published(schedule: str) -> str:
    """The condition that a schedule (an SQL expression) has an open job that is not held back."""
    return _PUBLISHED.format(schedule=schedule)


def open_jobs(session: Session, schedule_ids: Sequence[int]) -> list[OpenJob]:
    """The jobs of these schedules that are not over; of a schedule with very many, those that decide."""
    if not schedule_ids:
        return []
    ids = array(schedule_ids)
    most = 4 * len(schedule_ids) + 100
    rows = session.prepared(ALL_OPEN, {"ids": ids, "most": most})
    if len(rows) < most:
        return [OpenJob._make(row[:-1]) for row in rows if row[-1]]
    found = {row[1]: OpenJob._make(row) for row in session.prepared(FEW_OPEN, {"ids": ids})}
    return list(found.values())
