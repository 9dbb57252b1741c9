"""The rescue: everything a job needs the dispatcher for after its dispatch, so that everything ends.

Publishes retries that are due and held jobs whose turn has come, ends attempts of lost workers and jobs that nobody
started, and keeps partitions ahead. One thread, one fenced transaction a kind; each look costs an index step when there
is nothing to do. Searches that have no index of their own are spaced by what they cost (a two-hundredth of the time).
"""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime

from services.dispatcher import traces
from services.dispatcher.floor import Survey
from services.dispatcher.giving_way import cancelled, given_up
from services.dispatcher.leadership import LEASE, Leadership
from services.dispatcher.letters import letters
from services.dispatcher.unended import end_unended
from services.dispatcher.zone_rules import ZoneRules
from shared import clock
from shared.domain.job import ENDED, FailureReason, JobStatus
from shared.domain.retry import RetryPolicy, delay_before_next
from shared.events.due import SOURCE, DueRun
from shared.events.envelope import Event, Message, encode, ended_id
from shared.events.topics import RUNS_RESULTS
from shared.events.types import RunFailed
from shared.process import Process
from shared.storage import dispatch, partitions, rescue
from shared.storage.database import DatabaseUnavailable
from shared.storage.giving_way import block
from shared.storage.open_jobs import OpenJob
from shared.storage.rescue import HeldJob, LostRun, Stopped
from shared.storage.session import Session, StatementRefused
from shared.storage.unended import Place
from shared.telemetry.logging import get_logger
from shared.telemetry.metrics import FAULTS, RESCUED, RETRIES, SCHEDULES_DUE

log = get_logger(__name__)

MOST_A_TURN = 500
LEAST_BETWEEN = 1.0
COST_SHARE = 200
NEVER_STARTED_LEAST = 5.0
UNENDED_LEAST = 15.0
HELD_SHARE = 20
"""Held jobs are looked at more often: someone waits for them."""
PARTITIONS_AGAIN = 60.0
MOST_DRIFT = 2.0
"""Seconds that PostgreSQL's clock may gain between two looks; more: it was set."""
NEVER_STARTED_BY = "cancelled:never_started"
DEADLINE_BY = "cancelled:deadline"
Messages = list[Message]
Work = Callable[[datetime], tuple[Messages, bool]]
"""Does one kind of work in the open transaction: what to publish, and whether there is more of it."""


class Rescue:
    """One thread; `woken` makes it look for held jobs at once."""

    def __init__(
        self,
        session: Session,
        leadership: Leadership,
        process: Process,
        *,
        store: Callable[[Session, Sequence[Message]], None],
        committed: Callable[[], None],
        poll_seconds: float,
        patience_seconds: float,
        survey: Survey,
    ) -> None:
        """`store` puts messages into the outbox of the open transaction; `committed` wakes the relay.

        `patience_seconds`: workers have so long to renew their leases after PostgreSQL was away.
        """
        self._session = session
        self._leadership = leadership
        self._process = process
        self._store = store
        self._committed = committed
        self._poll_seconds = poll_seconds
        self._patience = patience_seconds
        self._survey = survey
        self._judge_from = 0.0
        self._seen: tuple[datetime, float] | None = None
        """PostgreSQL's time at the last look, and ours (monotonic) just before."""
        self.woken = threading.Event()
        self.partitions: str | None = None
        """None while partitions reach seven days ahead, else one sentence."""
        self._stop = threading.Event()
        self._not_before: dict[str, float] = {}
        self._partitions_for: object = None
        self._held_after = 0
        """The schedule up to which held jobs were looked at in this round."""
        self._unended_after = Place()
        self._most = MOST_A_TURN
        self._zones, self._zones_for = ZoneRules(), -1
        self._thread = threading.Thread(target=self._run, name="rescue", daemon=True)

    def start(self) -> None:
        """Begin; the thread waits for leadership."""
        self._thread.start()

    def stop(self) -> None:
        """End after the transaction in hand."""
        self._stop.set()
        self.woken.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._process.beat("rescue", 120)
            epoch = self._leadership.wait(0.5)
            if epoch is None:
                self._partitions_for = None
                SCHEDULES_DUE.set(0)  # else the last figure of one that led once would alarm for ever
                continue
            try:
                pause = self._turn(epoch)
                self._most = min(MOST_A_TURN, 2 * self._most)
            except (DatabaseUnavailable, StatementRefused) as error:
                log.warning("The rescue is interrupted, trying again: %s", error, action="rescue.interrupted")
                FAULTS.labels("dispatcher", "rescue_database").inc()
                self._session.close()
                self._most = max(1, self._most // 2)  # a turn that did not end in time has less to do next time
                self._zones = ZoneRules()
                pause = self._poll_seconds
            self.woken.wait(pause)
            self.woken.clear()
        self._session.close()

    def _turn(self, epoch: int) -> float:
        """Look after everything once; returns the seconds until the next look."""
        began = clock.monotonic()
        look = rescue.look(self._session)
        self._survey.turn(self._session)  # first: the tick relies on it whatever becomes of the work below
        now, due = look.now, look.next_retry_at
        full = due is not None and due <= now and self._each(epoch, self._retries)
        if due is not None:
            full |= self._spaced("blocked_retries", epoch, self._blocked_retries)
        if look.any_held:
            full |= self._spaced("held", epoch, self._held, least=0.0, share=HELD_SHARE)
        if self._leases_count(now, began) and look.any_lost:
            full |= self._spaced("lost", epoch, self._lost)
        full |= self._follow_zones(epoch)
        full |= self._spaced("never_started", epoch, self._never_started, least=NEVER_STARTED_LEAST)
        self._keep_partitions(now)
        full |= self._spaced("unended", epoch, self._unended, least=UNENDED_LEAST)
        if full:
            return 0.0
        if due is None:
            return self._poll_seconds
        seconds: float = (due - now).total_seconds()
        return min(self._poll_seconds, max(0.05, seconds))

    def _leases_count(self, now: datetime, asked: float) -> bool:
        """Whether a lease that has run out means a lost worker.

        Not right after PostgreSQL was away, or its clock set forward: workers could not renew theirs, and do so now.
        """
        at = clock.monotonic()
        if self._seen is not None and (now - self._seen[0]).total_seconds() - (at - self._seen[1]) > MOST_DRIFT:
            self._judge_from = at + self._patience
        self._seen = now, asked
        return at >= max(self._judge_from, self._leadership.answering_since() + self._patience)

    def _each(self, epoch: int, work: Work) -> bool:
        """Run one kind of work in a fenced transaction; returns whether there is more of it."""
        now = dispatch.begin(self._session, LEASE, self._leadership.holder, epoch)
        if now is None:
            self._leadership.lost(epoch)
            return False
        messages, full = work(now)
        if messages:
            self._store(self._session, messages)
        self._session.execute("COMMIT")  # what needs no message (a claim whose end is known) is work too
        if messages:
            self._committed()
        return full

    def _spaced(
        self, name: str, epoch: int, work: Work, *, least: float = LEAST_BETWEEN, share: int = COST_SHARE
    ) -> bool:
        """The same, `share` times as long apart as it takes, and `least` seconds."""
        began = clock.monotonic()
        if began < self._not_before.get(name, 0.0):
            return False
        full = False
        try:
            full = self._each(epoch, work)
        finally:
            ended = clock.monotonic()
            self._not_before[name] = 0.0 if full else ended + max(least, share * (ended - began))
        return full

    def _retries(self, now: datetime) -> tuple[Messages, bool]:
        return self._again(now, *rescue.take_retries(self._session, now, self._most))

    def _blocked_retries(self, now: datetime) -> tuple[Messages, bool]:
        return self._again(now, *rescue.take_blocked_retries(self._session, now, self._most))

    def _again(self, now: datetime, runs: list[DueRun], stopped: list[Stopped]) -> tuple[Messages, bool]:
        """The next attempts, and the ends of jobs whose next attempt somebody has blocked."""
        RETRIES.inc(len(runs))
        messages = [traces.again(run, now) for run in runs] + [given_up(one.job, one.by, now) for one in stopped]
        return messages, len(messages) == self._most

    def _held(self, now: datetime) -> tuple[Messages, bool]:
        jobs, self._held_after = rescue.held_jobs(self._session, self._held_after, self._most)
        if not jobs:
            return [], False
        late = [job for job in jobs if job.start_by is not None and job.start_by < now]
        ready = [job for job in jobs if job.start_by is None or job.start_by >= now]
        messages = [traces.again(run, now) for run in rescue.release(self._session, now, ready)] if ready else []
        if late:
            attempts = [(job.job_id, job.attempt, job.schedule_id, job.scheduled_for) for job in late]
            blocked = block(self._session, attempts, DEADLINE_BY)
            messages += [cancelled(_open(job), "deadline", now) for job in late if job.job_id in blocked]
        return messages, len(jobs) == self._most

    def _lost(self, now: datetime) -> tuple[Messages, bool]:
        """Claims whose worker no longer renews them: the attempt has failed, the retry policy says what follows."""
        runs = rescue.lost_runs(self._session, self._most)
        ended: list[tuple[int, int, bool]] = []
        messages: Messages = []
        failures: list[RunFailed] = []
        for run in runs:
            if _has_ended(run):
                # By its result: nobody marks the claim of a worker elsewhere, nor that of one that died just then.
                ended.append((run.job_id, run.attempt, run.job_status == JobStatus.RETRYING))
                continue
            failure = _worker_lost(run, now)
            retried = failure is not None and failure.will_retry and run.blocked_by is None
            ended.append((run.job_id, run.attempt, retried))
            if failure is not None and run.blocked_by is not None:
                messages.append(given_up(_job_of(failure), run.blocked_by, now))
            elif failure is not None:
                failures.append(failure)
            log.warning(
                "Job %s lost its worker %s during attempt %s",
                run.job_id,
                run.worker,
                run.attempt,
                action="rescue.worker_lost",
                schedule_id=run.schedule_id,
                job_id=run.job_id,
            )
        messages += map(_failed, failures)
        if ended:
            rescue.end_lost(self._session, ended)
            RESCUED.labels(FailureReason.WORKER_LOST.value).inc(len(messages))
        return messages + letters(self._session, failures, now), len(runs) == self._most

    def _never_started(self, now: datetime) -> tuple[Messages, bool]:
        """Jobs nobody has claimed within their queue timeout: nobody may claim them any more."""
        jobs = rescue.never_started(self._session, now, self._most)
        if not jobs:
            return [], False
        attempts = [(job.job_id, job.attempt, job.schedule_id, job.scheduled_for) for job in jobs]
        blocked = block(self._session, attempts, NEVER_STARTED_BY)
        failures = [_never_started(job, now) for job in jobs if job.job_id in blocked]
        for job in jobs:
            if job.job_id in blocked:
                log.warning(
                    "Job %s was never started within its queue timeout: does any worker serve %s?",
                    job.job_id,
                    job.task_type,
                    action="rescue.never_started",
                    schedule_id=job.schedule_id,
                    job_id=job.job_id,
                )
        RESCUED.labels(FailureReason.NEVER_STARTED.value).inc(len(failures))
        return [*map(_failed, failures), *letters(self._session, failures, now)], len(jobs) == self._most

    def _unended(self, now: datetime) -> tuple[Messages, bool]:
        messages, self._unended_after, full = end_unended(self._session, now, self._unended_after, self._most)
        return messages, full

    def _follow_zones(self, epoch: int) -> bool:
        """Move timers after an update of the time zone database; looked at once a leadership."""
        if self._zones_for == epoch:
            return False
        now = dispatch.begin(self._session, LEASE, self._leadership.holder, epoch)
        if now is None:
            self._leadership.lost(epoch)
            return False
        self._zones.turn(self._session, now)
        self._session.execute("COMMIT")
        self._survey.moved()
        if self._zones.done:
            self._zones, self._zones_for = ZoneRules(), epoch
            return False
        return True

    def _keep_partitions(self, now: datetime) -> None:
        """Once a day, and once after a change of leadership.

        A long reader makes it give up (DatabaseUnavailable): tried again in a minute, while there are days to spare.
        """
        today = now.date()
        if self._partitions_for == today or clock.monotonic() < self._not_before.get("partitions", 0.0):
            return
        self._not_before["partitions"] = clock.monotonic() + PARTITIONS_AGAIN
        try:
            made = partitions.ensure_ahead(self._session, today)
        except StatementRefused as error:
            self.partitions = f"partitions could not be created: {error}"
            log.warning("Partitions could not be created ahead: %s", error, action="partitions.failed")
            FAULTS.labels("dispatcher", "partitions").inc()
            return
        self._partitions_for, self.partitions = today, None
        if made:
            log.info("Created %s partitions ahead", made, action="partitions.created")


def _open(job: HeldJob) -> OpenJob:
    return OpenJob(job.schedule_id, job.job_id, job.attempt, job.scheduled_for, True, job.project_id, job.task_type)


def _job_of(failure: RunFailed) -> OpenJob:
    identity = (failure.schedule_id, failure.job_id, failure.attempt, failure.scheduled_for)
    return OpenJob(*identity, False, failure.project_id, failure.task_type)


def _has_ended(run: LostRun) -> bool:
    """Whether the attempt's end is on record already, though its claim is open."""
    if run.job_status is None or run.job_attempt is None:
        return False
    return run.job_attempt > run.attempt or run.job_status in {*ENDED, JobStatus.RETRYING}


def _worker_lost(run: LostRun, now: datetime) -> RunFailed | None:
    """The failure of an attempt whose worker is gone; None for a claim without a job (nothing to end)."""
    if run.project_id is None or run.task_type is None:
        return None
    first = 30.0 if run.retry_first_seconds is None else run.retry_first_seconds
    cap = 3600.0 if run.retry_cap_seconds is None else run.retry_cap_seconds
    policy = RetryPolicy(run.max_attempts or 1, first, cap)
    delay = delay_before_next(policy, run.job_id, run.attempt, permanent=run.retry_first_seconds is None)
    began = run.begun_at or run.claimed_at
    return RunFailed(
        job_id=run.job_id,
        attempt=run.attempt,
        schedule_id=run.schedule_id,
        project_id=run.project_id,
        task_type=run.task_type,
        scheduled_for=run.scheduled_for,
        worker=run.worker,
        started_at=began,
        finished_at=now,
        duration_seconds=max(0.0, (now - began).total_seconds()),
        error=f"Worker {run.worker.partition('#')[0]} stopped renewing its claim: it was killed, cut off or stopped",
        reason=FailureReason.WORKER_LOST.value,
        will_retry=delay is not None,
        next_attempt_at=None if delay is None else now + delay,
    )


def _never_started(job: OpenJob, now: datetime) -> RunFailed:
    return RunFailed(
        job_id=job.job_id,
        attempt=job.attempt,
        schedule_id=job.schedule_id,
        project_id=job.project_id,
        task_type=job.task_type,
        scheduled_for=job.scheduled_for,
        finished_at=now,
        error=f"No worker took this run within its queue timeout: nobody serves the task type {job.task_type},"
        " or all who do were busy",
        reason=FailureReason.NEVER_STARTED.value,
        will_retry=False,
    )


def _failed(data: RunFailed) -> Message:
    event_id = ended_id(data.job_id, data.attempt, "failed", "dispatcher")
    event = Event(event_id, SOURCE, data.finished_at, data, data.schedule_id, data.job_id)
    return encode(RUNS_RESULTS.name, event)
