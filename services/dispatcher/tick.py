"""The tick: claims what is due, stores jobs, skips, timers and messages in one fenced transaction, and hands the
messages to the relay.

Sleeps until the next due instant (by PostgreSQL's clock, which judges due-ness), a wake-up, or the longest sleep.
Claims in due order over all projects; once a batch is full there is a backlog, and projects take turns.
"""

import threading
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from operator import attrgetter

from services.dispatcher.encoding import Stored, encode, encode_due
from services.dispatcher.giving_way import give_way
from services.dispatcher.leadership import LEASE, Leadership
from services.dispatcher.planning import Plan, Planner, refuse
from services.dispatcher.relay import Relay
from services.dispatcher.summary import Summary
from services.dispatcher.turns import Turns
from shared import clock
from shared.process import Process
from shared.storage import dispatch
from shared.storage.database import DatabaseUnavailable
from shared.storage.dispatch import DueTimer, OpenJob
from shared.storage.session import Session, StatementRefused
from shared.telemetry.logging import get_logger
from shared.telemetry.metrics import CLAIM_BATCH, DISPATCHED, FAULTS, SKIPPED, TICK_DURATION

log = get_logger(__name__)

REFRESH_TURNS_SECONDS = 0.4
"""How old the list of projects with something due may be: a newly due project waits at most so long for its turn."""
SMALLEST_BATCH = 50
RETRY_SECONDS = 0.2
EARLY = 0.0002
"""Seconds added to a sleep until an instant: waking a little early would find nothing due and ask again."""


class Tick:
    """One thread. `wake` may be called from any."""

    def __init__(
        self,
        session: Session,
        leadership: Leadership,
        relay: Relay,
        process: Process,
        *,
        batch: int,
        poll_seconds: float,
        sampled_below: int,
    ) -> None:
        self._session = session
        self._leadership = leadership
        self._relay = relay
        self._process = process
        self._batch = self._largest = batch
        self._poll_seconds = poll_seconds
        self._sampled_below = sampled_below
        self._planner = Planner()
        self._summary = Summary()
        self._turns: Turns | None = None
        self._turns_until = 0.0
        self._woken = threading.Event()
        self._stop = threading.Event()
        self._careful = False
        self.on_held: list[threading.Event] = []
        """Set when jobs were held or made to give way: whoever releases held jobs looks at once."""
        self._thread = threading.Thread(target=self._run, name="tick", daemon=True)

    def start(self) -> None:
        """Begin; the thread waits for leadership."""
        self._thread.start()

    def wake(self) -> None:
        """Something may be due earlier than known."""
        self._woken.set()

    def stop(self) -> None:
        """Finish the batch in hand, claim no more."""
        self._stop.set()
        self._woken.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._process.beat("tick", 60)
            epoch = self._leadership.wait(0.5)
            if epoch is None:
                self._turns = None
                continue
            try:
                self._lead(epoch)
            except DatabaseUnavailable as error:
                log.warning("A batch was not claimed, trying again: %s", error, action="tick.interrupted")
                FAULTS.labels("dispatcher", "tick_database").inc()
                # A transaction that could not end in time is tried again with less to do.
                self._batch = max(SMALLEST_BATCH, self._batch // 2)
                self._stop.wait(RETRY_SECONDS)
        self._session.close()

    def _lead(self, epoch: int) -> None:
        """One turn of the loop: sleep or claim."""
        self._summary.flush()
        if not self._relay.has_room():
            self._relay.wait_for_room(RETRY_SECONDS)
            return
        if self._turns is None:
            self._woken.clear()
            due, now = dispatch.next_due(self._session)
            if due is None or due > now:
                seconds = self._poll_seconds if due is None else (due - now).total_seconds() + EARLY
                left = self._summary.seconds_left()
                self._woken.wait(min(seconds, self._poll_seconds, self._poll_seconds if left is None else left))
                if due is None or seconds > self._poll_seconds:
                    return
        claimed = self._claim(epoch)
        if claimed == 0 and self._turns is None:
            # Woken early, or what is due is being edited at this very moment.
            self._stop.wait(0.001)

    def _claim(self, epoch: int) -> int:
        """Claim and store one batch; returns how many timers it took."""
        began = clock.monotonic()
        now = dispatch.begin(self._session, LEASE, self._leadership.holder, epoch)
        if now is None:
            self._leadership.lost(epoch)
            return 0
        timers = self._take(now)
        if not timers:
            self._session.execute("ROLLBACK")
            return 0
        timers.sort(key=attrgetter("schedule_id"))
        try:
            plan, rows = self._store(now, timers) if not self._careful else self._store_carefully(now, timers)
            self._commit(rows)
        except StatementRefused as error:
            self._session.rollback()
            if self._careful:  # not even row by row: something else is wrong, such as a missing migration
                raise DatabaseUnavailable(str(error)) from error
            log.warning("A batch could not be written, looking for the schedule at fault: %s", error)
            FAULTS.labels("dispatcher", "unwritable_batch").inc()
            self._careful = True
            return len(timers)
        self._careful = False
        TICK_DURATION.observe(clock.monotonic() - began)
        CLAIM_BATCH.observe(len(timers))
        self._say(plan)
        if self._batch < self._largest:
            self._batch = min(self._largest, self._batch + self._batch // 4 + 1)
        return len(timers)

    def _take(self, now: datetime) -> list[DueTimer]:
        """Lock due timers: in due order, or by turns while there is a backlog."""
        if self._turns is not None and clock.monotonic() < self._turns_until:
            timers = self._take_turn(now)
            if timers:
                return timers
        if self._turns is not None:
            self._turns = None
            return self._refresh(now)
        timers = dispatch.claim(self._session, now, self._batch)
        if len(timers) >= self._batch:
            # More is due: from the next batch on, by turns.
            self._turns, self._turns_until = Turns([]), 0.0
        return timers

    def _refresh(self, now: datetime) -> list[DueTimer]:
        """Ask anew which projects have something due."""
        projects = dispatch.projects_due(self._session, now)
        if len(projects) > 1:
            self._turns, self._turns_until = Turns(projects), clock.monotonic() + REFRESH_TURNS_SECONDS
            return self._take_turn(now)
        timers = dispatch.claim(self._session, now, self._batch)
        if len(timers) >= self._batch:
            self._turns, self._turns_until = Turns([]), 0.0
        return timers

    def _take_turn(self, now: datetime) -> list[DueTimer]:
        turns = self._turns
        if turns is None:
            return []
        shares = turns.next(self._batch)
        if not shares:
            return []
        timers = dispatch.claim_by_turns(self._session, now, shares)
        got: dict[int, int] = defaultdict(int)
        for timer in timers:
            got[timer.project_id] += 1
        turns.drop({project for project, share in shares if got[project] < share})
        return timers

    def _store(self, now: datetime, timers: list[DueTimer]) -> tuple[Plan, list[tuple[int, Stored]]]:
        """Decide and write; returns what was decided and the outbox rows (with their ids) for the relay."""
        ids = [timer.schedule_id for timer in timers]
        definitions = {one.id: one for one in dispatch.definitions(self._session, ids)}
        open_jobs: dict[int, list[OpenJob]] = defaultdict(list)
        for job in dispatch.open_jobs(self._session, ids):
            open_jobs[job.schedule_id].append(job)
        plan = self._planner.plan(now, timers, definitions, open_jobs, self._draw_ids().__next__)
        jobs = [due.job for due in plan.due] + plan.held
        stored = dispatch.store(self._session, now, plan.moves, jobs)
        if len(stored) != len(jobs):
            # Ledger entries that were there already keep their place, and nothing more is published for them.
            plan.due = [due for due in plan.due if due.job.job_id in stored]
            plan.held = [job for job in plan.held if job.job_id in stored]
        if plan.skips:
            dispatch.store_skips(self._session, now, plan.skips)
        batches = encode_due(plan.due, now, self._sampled_below)
        if plan.cancels:
            messages = give_way(self._session, plan.cancels, now)
            if messages:
                batches.append(encode(messages))
        rows = [(dispatch.store_messages(self._session, len(b.messages), b.text), b) for b in batches]
        return plan, rows

    def _store_carefully(self, now: datetime, timers: list[DueTimer]) -> tuple[Plan, list[tuple[int, Stored]]]:
        """The same after a batch was refused: halve it until the schedules at fault stand alone, and skip those."""
        self._session.execute("SAVEPOINT part")
        try:
            return self._store(now, timers)
        except StatementRefused as error:
            self._session.execute("ROLLBACK TO SAVEPOINT part")
            if len(timers) == 1:
                plan = Plan()
                refuse(plan, timers[0], None, str(error))
                dispatch.store(self._session, now, plan.moves, [])
                dispatch.store_skips(self._session, now, plan.skips)
                return plan, []
        middle = len(timers) // 2
        plan, rows = self._store_carefully(now, timers[:middle])
        other, more = self._store_carefully(now, timers[middle:])
        plan.extend(other)
        return plan, rows + more

    def _draw_ids(self) -> Iterator[int]:
        """Job ids without end, fetched a hundred at a time; almost never asked."""
        while True:
            yield from dispatch.draw_job_ids(self._session, 100)

    def _commit(self, rows: list[tuple[int, Stored]]) -> None:
        """Commit, then let the relay publish from memory; the rows stay the truth until they are acknowledged."""
        ids = [row_id for row_id, _ in rows]
        self._relay.expect(ids)
        try:
            self._session.execute("COMMIT")
        except (DatabaseUnavailable, StatementRefused):
            self._relay.forget(ids)  # committed or not, the table knows
            raise
        self._relay.hand_over(rows)

    def _say(self, plan: Plan) -> None:
        moves = {} if self._summary.full else {one.schedule_id: one for one in plan.moves}
        for due in plan.due:
            if self._summary.full:
                break
            self._summary.executed(due.job, moves.get(due.job.schedule_id))
        triggers: dict[str, int] = defaultdict(int)
        for due in plan.due:
            triggers[due.job.trigger] += 1
        for trigger, count in triggers.items():
            DISPATCHED.labels(trigger).inc(count)
        for skip in plan.skips:
            SKIPPED.labels(skip.reason).inc(skip.number or 1)
        for refused in plan.refused:
            log.error(
                "Schedule %s cannot be dispatched and was taken off the clock: %s",
                refused.schedule_id,
                refused.sentence,
                action="schedule.unwritable",
                schedule_id=refused.schedule_id,
            )
            FAULTS.labels("dispatcher", "unwritable_schedule").inc()
        if plan.held or plan.cancels:
            for event in self.on_held:
                event.set()
        self._summary.add(len(plan.due), len(plan.skips), len(plan.refused))
