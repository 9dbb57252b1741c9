"""A schedule's definition, the recurrence it follows, and the timer that says when it falls due next.

The api builds definitions from requests and sets timers at creation and edits; the dispatcher advances timers with the
same `timer_at`, so both sides give one answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Protocol

from shared.domain.catchup import SkipRange
from shared.domain.recurrence import Recurrence, count_between, jitter_delay, last_until, next_after


@dataclass(frozen=True, slots=True)
class Definition:
    """What to run, when, and under which policies (DESIGN sections 4 and 12). Durations are seconds."""

    project_id: int
    name: str
    task_type: str
    frequency: str
    description: str | None = None
    task_parameters: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, Any] = field(default_factory=dict)
    cron_expression: str | None = None
    interval_seconds: int | None = None
    timezone: str = "UTC"
    start_time: datetime | None = None
    end_time: datetime | None = None
    dst_gap: str = "shift"
    dst_overlap: str = "first"
    jitter_seconds: int = 0
    overlap_policy: str = "skip"
    catchup_policy: str = "latest"
    catchup_window_seconds: int = 86_400
    max_attempts: int = 3
    retry_first_seconds: float = 30.0
    retry_cap_seconds: float = 3_600.0
    timeout_seconds: int = 3_600
    start_deadline_seconds: int | None = None
    queue_timeout_seconds: int = 86_400
    pause_after_failures: int = 0
    enabled: bool = True

    def changed(self, changes: Mapping[str, Any]) -> "Definition":
        """The same definition with some fields replaced."""
        return replace(self, **changes)


DEFINITION_FIELDS = tuple(one.name for one in fields(Definition))

TIMING_FIELDS = frozenset(
    {
        "frequency",
        "cron_expression",
        "interval_seconds",
        "timezone",
        "start_time",
        "end_time",
        "dst_gap",
        "dst_overlap",
        "jitter_seconds",
    }
)
"""The fields whose change moves the next occurrence."""


class RecurrenceFields(Protocol):
    """Anything that has a schedule's timing fields by their column names: a Definition, or a row."""

    @property
    def frequency(self) -> str: ...
    @property
    def cron_expression(self) -> str | None: ...
    @property
    def interval_seconds(self) -> int | None: ...
    @property
    def timezone(self) -> str: ...
    @property
    def start_time(self) -> datetime | None: ...
    @property
    def end_time(self) -> datetime | None: ...
    @property
    def dst_gap(self) -> str: ...
    @property
    def dst_overlap(self) -> str: ...
    @property
    def jitter_seconds(self) -> int: ...


def recurrence_of(fields_of: RecurrenceFields, created_at: datetime) -> Recurrence:
    """The recurrence of a schedule; an interval without start_time is anchored at `created_at`.

    Raises RecurrenceError with every problem found.
    """
    return Recurrence.build(
        frequency=fields_of.frequency,
        cron_expression=fields_of.cron_expression,
        interval_seconds=fields_of.interval_seconds,
        timezone=fields_of.timezone,
        start_time=fields_of.start_time,
        end_time=fields_of.end_time,
        anchor=created_at,
        dst_gap=fields_of.dst_gap,
        dst_overlap=fields_of.dst_overlap,
        jitter_seconds=fields_of.jitter_seconds,
    )


@dataclass(frozen=True, slots=True)
class Timer:
    """When a schedule is dispatched next, and the nominal occurrence where jitter moved it away from that instant."""

    next_run_at: datetime | None = None
    next_scheduled_for: datetime | None = None

    @property
    def occurrence(self) -> datetime | None:
        """The nominal occurrence that falls due."""
        return self.next_scheduled_for or self.next_run_at


def timer_at(recurrence: Recurrence, schedule_id: int, occurrence: datetime | None) -> Timer:
    """The timer whose next occurrence is this one; an empty timer for None."""
    if occurrence is None:
        return Timer()
    if not recurrence.jitter_seconds:
        return Timer(occurrence)
    delay = jitter_delay(recurrence, schedule_id, occurrence, next_after(recurrence, occurrence))
    return Timer(occurrence + delay, occurrence) if delay else Timer(occurrence)


def timer_after(recurrence: Recurrence, schedule_id: int, instant: datetime, claimed: datetime | None) -> Timer:
    """The timer from an instant on: its first occurrence after it, and after the last one claimed."""
    since = instant if claimed is None else max(instant, claimed)
    return timer_at(recurrence, schedule_id, next_after(recurrence, since))


def unclaimed(recurrence: Recurrence, timer: Timer, now: datetime, reason: str) -> SkipRange | None:
    """The occurrences that fell due and that nobody has claimed, as one range; None when there are none.

    Asked before an edit, disabling or deletion forgets them. They are counted, never walked.
    """
    first = timer.occurrence
    if first is None or first > now:
        return None
    last = max(last_until(recurrence, now) or first, first)
    return SkipRange(first, last, 1 + count_between(recurrence, first, last), reason)


def is_active(*, enabled: bool, end_time: datetime | None, next_run_at: datetime | None, now: datetime) -> bool:
    """Enabled, inside its window or before it, with a next run."""
    return enabled and next_run_at is not None and (end_time is None or end_time >= now)
