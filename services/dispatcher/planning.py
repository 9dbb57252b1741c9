"""Decides what becomes of a batch of claimed schedules: jobs, skips, holds, cancellations, and where each timer goes.

Pure: the tick reads everything, calls `Planner.plan`, and stores the Plan. The rules are shared/domain's (recurrence,
catchup, overlap); this module applies them to tens of thousands of rows a second, so the common case (one occurrence,
on time, nothing running) takes a short way, and what equal schedules share (recurrence, next instant) is worked out
once. A test holds the short way against the long one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

from shared.domain.catchup import GRACE, CatchupPolicy, catch_up
from shared.domain.job import FailureReason, SkipReason, Trigger
from shared.domain.overlap import OverlapDecision, OverlapPolicy, decide
from shared.domain.recurrence import Recurrence, RecurrenceError, jitter_delay, next_after
from shared.domain.schedule import timer_at
from shared.events.topics import TASK_TYPE_NAME
from shared.storage.dispatch import Definition, DueTimer, NewJob, NewSkip, TimerMove
from shared.storage.open_jobs import OpenJob

MOST_KNOWN = 65_536
"""Recurrences kept; beyond it all are forgotten and learned again."""
MOST_INSTANTS = 8
"""Next instants kept for one recurrence: those of a batch or two. Times MOST_KNOWN they must fit into memory."""
QUEUING = frozenset({OverlapPolicy.SKIP, OverlapPolicy.BUFFER_ONE})
_UNKNOWN = datetime.max.replace(tzinfo=UTC)


@dataclass(slots=True)
class Known:
    """A recurrence in use, with the next instants already found."""

    recurrence: Recurrence
    next: dict[datetime, datetime | None] = field(default_factory=dict)

    def following(self, instant: datetime) -> datetime | None:
        """`next_after`, each instant once."""
        found = self.next.get(instant, _UNKNOWN)
        if found is _UNKNOWN:
            if len(self.next) >= MOST_INSTANTS:
                self.next.clear()
            found = self.next[instant] = next_after(self.recurrence, instant)
        return found


class Due(NamedTuple):
    """A job to publish: its row, the definition it runs, and the instant from which its start deadline counts."""

    job: NewJob
    definition: Definition
    dispatch_at: datetime


class Refused(NamedTuple):
    """A stored schedule that cannot be dispatched, and why."""

    schedule_id: int
    sentence: str


class Cancel(NamedTuple):
    """An open job that gives way, and why."""

    job: OpenJob
    reason: FailureReason


@dataclass(slots=True)
class Plan:
    """What to store for a batch. `held` jobs are stored like `due` ones, but published later."""

    moves: list[TimerMove] = field(default_factory=list)
    due: list[Due] = field(default_factory=list)
    held: list[NewJob] = field(default_factory=list)
    skips: list[NewSkip] = field(default_factory=list)
    cancels: list[Cancel] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    def extend(self, other: "Plan") -> None:
        """Add another part of the same batch."""
        for name in ("moves", "due", "held", "skips", "cancels", "refused"):
            getattr(self, name).extend(getattr(other, name))

    def skip(
        self,
        definition: Definition,
        project_id: int,
        reason: str,
        trigger: Trigger,
        spell: tuple[datetime, datetime, int],
    ) -> None:
        """Record occurrences (the first, the last, how many) as not run."""
        first, last, count = spell
        many = count > 1
        self.skips.append(
            NewSkip(
                None,
                definition.id,
                definition.version,
                project_id,
                definition.task_type,
                trigger.value,
                reason,
                first,
                last if many else None,
                count if many else None,
            )
        )


class Planner:
    """Keeps what equal schedules share from batch to batch. Both lanes use one: its tables only gain equal entries."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Known] = {}
        self._task_types: set[str] = set()

    def plan(
        self,
        now: datetime,
        timers: Sequence[DueTimer],
        definitions: Mapping[int, Definition],
        open_jobs: Mapping[int, list[OpenJob]],
        draw_id: Callable[[], int],
    ) -> Plan:
        """Decide about every claimed timer. A schedule that cannot be evaluated is refused, never the batch.

        `open_jobs`: of the schedules whose overlap policy asks; a few of each decide. `draw_id` gives a fresh job
        id, for timers of which several occurrences run.
        """
        plan = Plan()
        for timer in timers:
            definition = definitions.get(timer.schedule_id)
            if definition is None or not definition.active:
                refuse(plan, timer, definition)
                continue
            if definition.task_type not in self._task_types and not self._is_task_type(definition.task_type):
                refuse(plan, timer, definition, f"{definition.task_type!r} is no task type name")
                continue
            try:
                known = self._known.get(definition[7:17]) or self._learn(definition)
                first = timer.next_scheduled_for or timer.next_run_at
                following = known.following(first)
                late = now - timer.next_run_at
                if (
                    (following is None or following > now)
                    and (late <= GRACE or definition.catchup_policy == CatchupPolicy.LATEST)
                    and late.total_seconds() <= definition.catchup_window_seconds
                ):
                    # The short way: a single occurrence, on time or wanted anyway.
                    plan.moves.append(move(timer.schedule_id, known.recurrence, first, following))
                    others = open_jobs.get(timer.schedule_id, ())
                    place(plan, now, timer, definition, first, others, timer.job_id, dispatch_at=timer.next_run_at)
                else:
                    _catch_up(plan, now, timer, definition, known, open_jobs.get(timer.schedule_id, ()), draw_id)
            except (RecurrenceError, ValueError, KeyError, OverflowError) as error:
                refuse(plan, timer, definition, str(error) or type(error).__name__)
        return plan

    def _is_task_type(self, name: str) -> bool:
        """Whether a topic can bear this name; judged once a name."""
        if TASK_TYPE_NAME.fullmatch(name) is None:
            return False
        self._task_types.add(name)
        return True

    def _learn(self, definition: Definition) -> Known:
        """Build a recurrence from its stored columns. Raises RecurrenceError."""
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        columns = definition[7:17]
        known = self._known[columns] = Known(recurrence_of(definition))
        return known


def recurrence_of(definition: Definition) -> Recurrence:
    """The recurrence of a stored schedule. Raises RecurrenceError."""
    return Recurrence.build(
        frequency=definition.frequency,
        cron_expression=definition.cron_expression,
        interval_seconds=definition.interval_seconds,
        timezone=definition.timezone,
        start_time=definition.start_time,
        end_time=definition.end_time,
        anchor=definition.anchor,
        dst_gap=definition.dst_gap,
        dst_overlap=definition.dst_overlap,
        jitter_seconds=definition.jitter_seconds,
    )


def move(schedule_id: int, recurrence: Recurrence, claimed: datetime, following: datetime | None) -> TimerMove:
    """The timer after `claimed`: due at `following`, plus its jitter."""
    if following is None or not recurrence.jitter_seconds:
        return TimerMove(schedule_id, following, None, claimed)
    timer = timer_at(recurrence, schedule_id, following)
    return TimerMove(schedule_id, timer.next_run_at, timer.next_scheduled_for, claimed)


def _catch_up(
    plan: Plan,
    now: datetime,
    timer: DueTimer,
    definition: Definition,
    known: Known,
    open_jobs: Sequence[OpenJob],
    draw_id: Callable[[], int],
) -> None:
    """The long way: late, or several occurrences at once. The schedule's policy says which run (domain/catchup)."""
    recurrence = known.recurrence
    first = timer.next_scheduled_for or timer.next_run_at
    delay = partial(jitter_delay, recurrence, timer.schedule_id) if recurrence.jitter_seconds else None
    window = timedelta(seconds=definition.catchup_window_seconds)
    policy = CatchupPolicy(definition.catchup_policy)
    decision = catch_up(recurrence, first, now, policy, window, delay=delay)
    for skip in decision.skips:
        spell = (skip.first, skip.last, skip.count)
        plan.skip(definition, timer.project_id, skip.reason, Trigger.CATCHUP, spell)
    last = max([*decision.run, *(skip.last for skip in decision.skips)], default=first)
    plan.moves.append(move(timer.schedule_id, recurrence, last, decision.next))
    run = list(decision.run)
    if len(run) > 1 and definition.overlap_policy == OverlapPolicy.CANCEL_OTHER:
        # The newest waiting occurrence wins: the others would only be stored to be cancelled at once.
        for occurrence in run[:-1]:
            plan.skip(definition, timer.project_id, SkipReason.OVERLAP, Trigger.CATCHUP, (occurrence, occurrence, 1))
        run = run[-1:]
    for number, occurrence in enumerate(run):
        # All missed ones are wanted, yet not side by side: they queue up instead of skipping each other.
        queues = policy is CatchupPolicy.ALL and (number > 0 or now - occurrence > GRACE)
        job_id = draw_id() if number else timer.job_id
        at = timer.next_run_at if occurrence == first else occurrence
        if delay is not None and occurrence != first:
            at += delay(occurrence, next_after(recurrence, occurrence))
        behind = number > 0 if queues else None
        place(plan, now, timer, definition, occurrence, open_jobs, job_id, dispatch_at=at, behind=behind)


def place(  # noqa: PLR0913 (each is a fact of one occurrence)
    plan: Plan,
    now: datetime,
    timer: DueTimer,
    definition: Definition,
    occurrence: datetime,
    open_jobs: Sequence[OpenJob],
    job_id: int,
    *,
    dispatch_at: datetime,
    behind: bool | None = None,
) -> None:
    """One occurrence that should run: a job, a job held back, or a skip. `dispatch_at`: with its jitter.

    `behind` is set for missed occurrences that all run (catch-up `all`) although the schedule forbids overlap: they
    wait for what is open, or for another of this very batch (True), instead of being skipped.
    """
    late = now - dispatch_at
    trigger = Trigger.SCHEDULE if late <= GRACE else Trigger.CATCHUP
    deadline = definition.start_deadline_seconds
    if deadline is not None and late.total_seconds() > deadline:
        plan.skip(definition, timer.project_id, SkipReason.DEADLINE, trigger, (occurrence, occurrence, 1))
        return
    held = False
    policy = OverlapPolicy(definition.overlap_policy) if open_jobs or behind else OverlapPolicy.ALLOW
    if behind is not None and policy in QUEUING:
        held = behind or bool(open_jobs)
    elif open_jobs:
        waiting = sum(job.held for job in open_jobs)
        verdict = decide(policy, running=len(open_jobs) - waiting, held=waiting)
        if verdict is OverlapDecision.SKIP:
            plan.skip(definition, timer.project_id, SkipReason.OVERLAP, trigger, (occurrence, occurrence, 1))
            return
        held = verdict is not OverlapDecision.RUN
        if verdict is OverlapDecision.HOLD_AND_CANCEL:
            plan.cancels.extend(Cancel(job, FailureReason.REPLACED) for job in open_jobs)
    job = NewJob(
        job_id,
        timer.schedule_id,
        definition.version,
        timer.project_id,
        definition.task_type,
        trigger.value,
        occurrence,
        held,
        definition.max_attempts,
        definition.queue_timeout_seconds,
    )
    if held:
        plan.held.append(job)
    else:
        plan.due.append(Due(job, definition, dispatch_at))


def refuse(plan: Plan, timer: DueTimer, definition: Definition | None, sentence: str | None = None) -> None:
    """Take a schedule that cannot be dispatched off the clock and record its occurrence as a skip."""
    first = timer.next_scheduled_for or timer.next_run_at
    reason = SkipReason.UNWRITABLE
    if definition is None:
        sentence = sentence or "its definition is missing"
    elif sentence is None:
        # The api takes the timer with it when it disables or deletes; one that is left over is not run.
        reason, sentence = SkipReason.DISABLED, "it is disabled or deleted"
    plan.moves.append(TimerMove(timer.schedule_id, None, None, first))
    plan.skips.append(
        NewSkip(
            timer.job_id,
            timer.schedule_id,
            definition.version if definition else 0,
            timer.project_id,
            definition.task_type if definition else "unknown",
            Trigger.SCHEDULE.value,
            reason.value,
            first,
            None,
            None,
        )
    )
    plan.refused.append(Refused(timer.schedule_id, sentence))
