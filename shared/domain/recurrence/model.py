"""The recurrence of a schedule: the "when", validated once and immutable.

Built by the API from a request (`Recurrence.build`, raw values) and by the dispatcher from a stored row
(`Recurrence(...)`): both validate, and both are quick because expressions and zones are compiled once a process. Equal
values are equal and hash alike, so that whoever evaluates many schedules can share the work (`next_after_many`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil, floor

from shared.domain.recurrence.plan import FIRST_SECOND, CronPlan, IntervalPlan, Plan, cron_plan
from shared.domain.recurrence.policies import DstGap, DstOverlap, Frequency
from shared.domain.recurrence.validation import checked

EXPRESSIONS = {
    Frequency.HOURLY: "0 * * * *",
    Frequency.DAILY: "0 0 * * *",
    Frequency.WEEKLY: "0 0 * * 1",
    Frequency.MONTHLY: "0 0 1 * *",
}
"""The named frequencies as cron expressions: weekly is Monday (cron's own @weekly is Sunday)."""


@dataclass(frozen=True, slots=True)
class Recurrence:
    """When a schedule falls due.

    `start_time` and `end_time` are inclusive, aware, and kept in UTC. `anchor` matters to `interval` alone: start_time,
    or else the creation given here, without its fraction of a second; for every other frequency it is dropped.
    `dst_gap` and `dst_overlap` govern fixed-time occurrences; elapsed-time ones (a star in minute or hour, hourly,
    interval) have no use for them. `jitter_seconds` never changes an occurrence: see `jitter_delay`.

    Raises RecurrenceError with every problem found.
    """

    frequency: Frequency
    cron_expression: str | None = None
    interval_seconds: int | None = None
    timezone: str = "UTC"
    start_time: datetime | None = None
    end_time: datetime | None = None
    anchor: datetime | None = None
    dst_gap: DstGap = DstGap.SHIFT
    dst_overlap: DstOverlap = DstOverlap.FIRST
    jitter_seconds: int = 0
    _plan: Plan | None = field(init=False, repr=False, compare=False)
    _first_second: int = field(init=False, repr=False, compare=False)
    _last_second: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        values = checked(self)
        put = object.__setattr__
        for name, value in values.items():
            put(self, name, value)
        put(self, "_plan", self._make_plan())
        start, end = self.start_time, self.end_time
        if self.frequency is Frequency.INTERVAL and start:
            start = self.anchor  # the anchor itself is the first occurrence, though start_time had a fraction
        put(self, "_first_second", max(ceil(start.timestamp()), FIRST_SECOND) if start else FIRST_SECOND)
        put(self, "_last_second", floor(end.timestamp()) if end else _LATEST)

    @classmethod
    def build(cls, **values: object) -> Recurrence:
        """A recurrence from raw values, words as plain strings. Raises RecurrenceError naming every wrong field."""
        return cls(**values)  # type: ignore[arg-type]

    def _make_plan(self) -> Plan | None:
        """The plan that finds the occurrences; `once` has none, its occurrence is start_time."""
        if self.frequency is Frequency.ONCE:
            return None
        if self.frequency is Frequency.INTERVAL and self.interval_seconds:
            start, created = (None if at is None else at.timestamp() for at in (self.start_time, self.anchor))
            return IntervalPlan.of(start, created, self.interval_seconds)
        return cron_plan(self.expression or "", self.timezone, self.dst_gap, self.dst_overlap)

    @property
    def expression(self) -> str | None:
        """The cron expression it follows: its own, or that of a named frequency; None for once and interval."""
        return self.cron_expression or EXPRESSIONS.get(self.frequency)

    @property
    def compiled_text(self) -> str:
        """That expression in its normal form (upper case, words written out); empty for once and interval."""
        return self._plan.expression.text if isinstance(self._plan, CronPlan) else ""


_LATEST = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp())
