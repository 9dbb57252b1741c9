"""The dead letters of runs that are given up without a worker: it is gone, or none came.

Called by the rescue for the failures it publishes, inside its transaction. The due run in a letter is made anew from
the ledger, as it was published: whoever sends it again runs its work.
"""

from collections.abc import Sequence
from datetime import datetime

from shared.events.due import due_message
from shared.events.envelope import Message
from shared.events.topics import RUNS_DEAD
from shared.events.types import RunFailed
from shared.storage import rescue
from shared.storage.session import Session
from shared.telemetry.metrics import DEAD_LETTERS

CONSUMER = "dispatcher"


def letters(session: Session, failures: Sequence[RunFailed], now: datetime) -> list[Message]:
    """A letter for each of these that is its job's last."""
    last = {one.job_id: one for one in failures if not one.will_retry}
    if not last:
        return []
    made = []
    for run in rescue.due_runs(session, now, [(one.job_id, one.scheduled_for) for one in last.values()]):
        failure, due = last[run.job_id], due_message(run, now)
        headers = {
            **due.headers,
            "dead_reason": f"given up after attempt {failure.attempt}: {failure.reason}: {failure.error}",
            "dead_consumer": CONSUMER,
            "dead_at": now.isoformat(),
            "dead_topic": due.topic,
        }
        made.append(Message(RUNS_DEAD.name, due.key, headers, due.value))
    DEAD_LETTERS.labels(CONSUMER, "given_up").inc(len(made))
    return made
