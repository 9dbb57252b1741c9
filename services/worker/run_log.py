"""One log line for each attempt's end, found by `grep schedule_id=123`; called by Results.

A worker may end thousands of attempts a second, of which nobody reads a line each: above the limit the rest of that
second is counted and told in one line.
"""

from services.worker.attempt import Attempt, Cancelled, Failed, Outcome, Succeeded
from shared import clock
from shared.telemetry.logging import get_logger
from shared.telemetry.tracing import trace_id_of

log = get_logger(__name__)

LINES_A_SECOND = 100


class RunLog:
    """Called by whichever thread ends an attempt. Two at once may miscount a line, never lose an attempt's end."""

    def __init__(self) -> None:
        self._second = 0
        self._lines = 0
        self._unsaid = 0

    def ended(self, attempt: Attempt, outcome: Outcome, *, will_retry: bool) -> None:
        """Say how an attempt ended."""
        second = int(clock.monotonic())
        if second != self._second:
            if self._unsaid:
                log.info(f"{self._unsaid} more attempts ended within a second", action="run.ended")
            self._second, self._lines, self._unsaid = second, 0, 0
        self._lines += 1
        if self._lines > LINES_A_SECOND:
            self._unsaid += 1
            return
        due = attempt.due
        which = f"Attempt {due.attempt} of job {due.job_id}"
        about = {
            "schedule_id": due.schedule_id,
            "job_id": due.job_id,
            "task_type": due.task_type,
            "trace_id": trace_id_of(attempt.traceparent),
        }
        match outcome:
            case Succeeded():
                seconds = clock.monotonic() - attempt.started_monotonic
                log.info(f"{which} succeeded in {seconds:.3f} s", action="run.succeeded", **about)
            case Cancelled(reason):
                log.info(f"{which} was cancelled: {reason}", action="run.cancelled", **about)
            case Failed():
                log.warning(
                    f"{which} failed: {outcome.error}",
                    action="run.failed",
                    reason=str(outcome.reason),
                    will_retry=will_retry,
                    **about,
                )
