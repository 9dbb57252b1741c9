"""One batch of events on its way into the database: what to look up, what to change, what to remember.

recorder.py drives it: `chains`, `audited` and `jobs` name what the transaction must read, `judge` decides with that,
`outcomes`, `tallies` and `entries` are what it writes. No I/O here, so that tests drive it without a database.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.health.judging import Judgement, Verdict, aware, judge
from shared.domain.job import ENDED, JobStatus
from shared.events.envelope import Event
from shared.events.types import (
    Actor,
    ObjectChanged,
    RunEnded,
    RunEvent,
    RunFailed,
    RunRequested,
    RunStarted,
    ScheduleChange,
)
from shared.kafka.consumer import Record
from shared.storage.audit import Entry
from shared.storage.outcomes import JobRow, Outcome
from shared.storage.statistics import Tally
from shared.telemetry import metrics

_COUNTED = {JobStatus.SUCCEEDED, JobStatus.FAILED}


class Batch:
    """Events in the order of their partitions, judged together."""

    def __init__(self, events: Sequence[tuple[Record, Event]], now: datetime) -> None:
        self._events = events
        self._now = now
        self._outcomes: dict[int, Outcome] = {}
        self._tallies: dict[int, Tally] = {}
        self._entries: list[Entry] = []
        self._verdicts: Counter[tuple[str, Verdict]] = Counter()
        self._delays: list[float] = []

    def chains(self) -> set[str]:
        """The audit chains these events belong to: one for each topic partition."""
        return {_chain(record) for record, _ in self._events}

    def audited(self) -> list[tuple[str, datetime]]:
        """(id, instant) of the events that leave an audit entry: by these, repeats are recognised."""
        return [(event.id, event.time) for _, event in self._events if not isinstance(event.data, RunStarted)]

    def jobs(self, known: set[str]) -> list[tuple[int, datetime]]:
        """The jobs (id, scheduled_for) to lock, repeats left out."""
        return sorted(
            {
                (event.data.job_id, aware(event.data.scheduled_for))
                for _, event in self._events
                if isinstance(event.data, RunEvent) and event.id not in known
            }
        )

    def judge(self, known: set[str], jobs: dict[int, JobRow]) -> None:
        """Decide every event in order, each seeing the jobs as the earlier ones left them."""
        seen = set(known)
        for record, event in self._events:
            data = event.data
            if event.id in seen:
                self._note(event, Verdict.REPEATED)
            elif isinstance(data, RunStarted):
                self._started(event, data, jobs.get(data.job_id))
            elif isinstance(data, RunEnded):
                seen.add(event.id)
                self._ended(record, event, data, jobs.get(data.job_id))
            elif isinstance(data, ScheduleChange):
                seen.add(event.id)
                self._entries.append(_change(record, event, data))
                self._note(event, Verdict.APPLIED)
            elif isinstance(data, RunRequested):
                seen.add(event.id)
                self._entries.append(_request(record, event, data))
                self._note(event, Verdict.APPLIED)
            elif isinstance(data, ObjectChanged):
                seen.add(event.id)
                self._entries.append(_object(record, event, data))
                self._note(event, Verdict.APPLIED)

    def outcomes(self) -> list[Outcome]:
        """The jobs' new states."""
        return list(self._outcomes.values())

    def tallies(self) -> list[Tally]:
        """What to add to the statistics, in the order of their primary key."""
        return [self._tallies[schedule_id] for schedule_id in sorted(self._tallies)]

    def entries(self) -> list[Entry]:
        """What to add to the audit log."""
        return self._entries

    def count(self) -> None:
        """Count the batch in the metrics, once it is committed."""
        for (name, verdict), number in self._verdicts.items():
            metrics.EVENTS_RECORDED.labels(name, verdict.value).inc(number)
        for delay in self._delays:
            metrics.END_TO_END_DELAY.observe(delay)

    def _started(self, event: Event, data: RunStarted, job: JobRow | None) -> None:
        judgement = judge(job, data)
        if job is not None and judgement.outcome is not None:
            self._apply(job, judgement.outcome)
        self._note(event, judgement.verdict)

    def _ended(self, record: Record, event: Event, data: RunEnded, job: JobRow | None) -> None:
        judgement = judge(job, data)
        if job is not None and judgement.outcome is not None:
            self._apply(job, judgement.outcome)
            if judgement.outcome.status in ENDED:
                self._tally(job, data, judgement.outcome)
        self._entries.append(_outcome(record, event, data, job, judgement))
        self._note(event, judgement.verdict)

    def _apply(self, job: JobRow, outcome: Outcome) -> None:
        job.status, job.attempt = outcome.status, outcome.attempt
        earlier = self._outcomes.get(job.id)
        if earlier is not None and outcome.started_at is None and earlier.attempt == outcome.attempt:
            outcome = _with_start(outcome, earlier.started_at)
        self._outcomes[job.id] = outcome

    def _tally(self, job: JobRow, data: RunEnded, outcome: Outcome) -> None:
        tally = self._tallies.get(job.schedule_id)
        if tally is None:
            tally = self._tallies[job.schedule_id] = Tally(job.schedule_id, job.project_id)
        if outcome.status in _COUNTED:
            failed = outcome.status is JobStatus.FAILED
            tally.failures += failed
            tally.successes += not failed
            tally.failures_at_end = tally.failures_at_end + 1 if failed else 0
            tally.duration_seconds += _duration(data) or 0.0
        finished_at = aware(data.finished_at)
        ran_at = aware(data.started_at) if data.started_at else finished_at
        if tally.last_run_at is None or ran_at >= tally.last_run_at:
            tally.last_run_at, tally.last_status, tally.last_error = ran_at, outcome.status, outcome.error
        self._delays.append(max(0.0, (self._now - job.scheduled_for).total_seconds()))

    def _note(self, event: Event, verdict: Verdict) -> None:
        self._verdicts[event.data.TYPE.removeprefix("commandcenter."), verdict] += 1


def _with_start(outcome: Outcome, started_at: datetime | None) -> Outcome:
    return Outcome(
        outcome.job_id,
        outcome.scheduled_for,
        outcome.status,
        outcome.attempt,
        outcome.reason,
        outcome.error,
        started_at,
        outcome.finished_at,
        outcome.next_attempt_at,
        outcome.result,
        outcome.artifacts,
    )


def _chain(record: Record) -> str:
    return f"{record.topic}/{record.partition}"


def _duration(data: RunEnded) -> float | None:
    if data.duration_seconds is not None:
        return data.duration_seconds
    if data.started_at is None:
        return None
    return max(0.0, (aware(data.finished_at) - aware(data.started_at)).total_seconds())


def _outcome(record: Record, event: Event, data: RunEnded, job: JobRow | None, judgement: Judgement) -> Entry:
    outcome = data.TYPE.split(".")[2]  # commandcenter.run.<outcome>.v1
    detail: dict[str, Any] = {"outcome": outcome, "duration_seconds": _duration(data)}
    if isinstance(data, RunFailed):
        detail |= {"reason": data.reason, "error": data.error, "will_retry": data.will_retry}
    elif reason := getattr(data, "reason", None):
        detail["reason"] = reason
    if judgement.verdict is not Verdict.APPLIED:
        outcome = judgement.verdict.value
    return Entry(
        chain=_chain(record),
        event_id=event.id,
        at=event.time,
        action=f"run.{outcome}",
        actor=data.worker,
        project_id=job.project_id if job else data.project_id,
        schedule_id=job.schedule_id if job else data.schedule_id,
        job_id=data.job_id,
        attempt=data.attempt,
        detail=detail,
    )


def _change(record: Record, event: Event, data: ScheduleChange) -> Entry:
    return Entry(
        chain=_chain(record),
        event_id=event.id,
        at=event.time,
        action=data.TYPE.removeprefix("commandcenter.").removesuffix(".v1"),
        actor=data.actor.name,
        address=data.actor.address,
        project_id=data.project_id,
        schedule_id=data.schedule_id,
        detail={"version": data.version, "before": data.before, "after": data.after, **_identity(data.actor)},
    )


def _object(record: Record, event: Event, data: ObjectChanged) -> Entry:
    detail: dict[str, Any] = {"id": data.object_id, "name": data.name, "before": data.before, "after": data.after}
    if data.secret_changed:
        detail["secret_changed"] = True
    return Entry(
        chain=_chain(record),
        event_id=event.id,
        at=event.time,
        action=f"{data.kind}.{data.change}",
        actor=data.actor.name,
        address=data.actor.address,
        project_id=data.project_id,
        detail=detail | _identity(data.actor),
    )


def _identity(actor: Actor) -> dict[str, str]:
    """What tells callers of one name apart, where the name does not."""
    return {} if actor.identity is None else {"identity": actor.identity}


def _request(record: Record, event: Event, data: RunRequested) -> Entry:
    detail: dict[str, Any] = {"task_type": data.task_type, "scheduled_for": data.scheduled_for.isoformat()}
    if data.request == "execute":
        detail["forced"] = data.forced
    elif data.retry_of is not None:
        detail["retry_of"] = data.retry_of
    detail |= _identity(data.actor)
    return Entry(
        chain=_chain(record),
        event_id=event.id,
        at=event.time,
        action=f"job.{data.request}",
        actor=data.actor.name,
        address=data.actor.address,
        project_id=data.project_id,
        schedule_id=data.schedule_id,
        job_id=data.job_id,
        detail=detail,
    )
