"""Says what the tick did, in the reference's words, at a bounded rate.

One summary line a second at most, adding up the ticks since the last one; a line per executed schedule for the first
few of each second, so that a small installation sees every one and a large one is not drowned.
"""

import threading

from shared import clock
from shared.events.due import instant
from shared.storage.dispatch import NewJob, TimerMove
from shared.telemetry.logging import get_logger
from shared.telemetry.tracing import trace_id_of

log = get_logger(__name__)

SECONDS_BETWEEN = 1.0
EXECUTED_LINES = 20
"""Lines "Executed schedule …" a second."""


class Summary:
    """Used by the tick's lanes."""

    def __init__(self, *, traced: bool = False) -> None:
        """`traced`: traces are exported, and each dispatch is told as a span besides."""
        self.traced = traced
        self._since = clock.monotonic()
        self._dispatched = 0
        self._skipped = 0
        self._failed = 0
        self._lines = 0
        self._lock = threading.Lock()

    def executed(self, job: NewJob, next_run_at: TimerMove | None, traceparent: str | None) -> None:
        """A job was created and committed, and its message carries this trace."""
        if self._lines < EXECUTED_LINES:
            self._lines += 1
            coming = next_run_at.next_run_at if next_run_at else None
            log.info(
                "Executed schedule %s, created job %s, next run at %s",
                job.schedule_id,
                job.job_id,
                instant(coming.replace(microsecond=0)) if coming else "never",
                action="schedule.executed",
                schedule_id=job.schedule_id,
                job_id=job.job_id,
                trace_id=trace_id_of(traceparent),
            )

    @property
    def full(self) -> bool:
        """Whether no further line per schedule is due this second."""
        return self._lines >= EXECUTED_LINES

    def add(self, dispatched: int, skipped: int, failed: int) -> None:
        """A committed batch."""
        with self._lock:
            self._dispatched += dispatched
            self._skipped += skipped
            self._failed += failed

    def flush(self) -> None:
        """Write the line if there was work and a second has passed."""
        now = clock.monotonic()
        if now - self._since < SECONDS_BETWEEN:
            return
        self._since = now
        self._lines = 0
        with self._lock:
            dispatched, skipped, failed = self._dispatched, self._skipped, self._failed
            self._dispatched = self._skipped = self._failed = 0
        if dispatched or skipped or failed:
            log.info(
                "Schedule dispatcher completed: %s dispatched, %s failed",
                dispatched,
                failed,
                action="due schedules",  # the words that the reference's troubleshooting greps for
                skipped=skipped,
            )

    def seconds_left(self) -> float | None:
        """How soon a line is to be written, or None when there is nothing to say."""
        if not (self._dispatched or self._skipped or self._failed):
            return None
        return max(0.0, SECONDS_BETWEEN - (clock.monotonic() - self._since))
