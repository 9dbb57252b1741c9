"""One lane of the tick: claims a batch, decides, and stores jobs, skips, timers and messages in one fenced transaction.

What is committed is handed to the relay from memory.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from operator import attrgetter

from services.dispatcher import traces
from services.dispatcher.backlog import Backlog
from services.dispatcher.encoding import Stored, encode, encode_due
from services.dispatcher.giving_way import give_way
from services.dispatcher.in_hand import InHand
from services.dispatcher.leadership import LEASE, Leadership
from services.dispatcher.planning import Plan, Planner, refuse
from services.dispatcher.summary import Summary
from shared import clock
from shared.domain.overlap import OverlapPolicy
from shared.storage import dispatch
from shared.storage.database import DatabaseUnavailable
from shared.storage.dispatch import DueTimer
from shared.storage.open_jobs import OpenJob, open_jobs
from shared.storage.session import Session, StatementRefused
from shared.telemetry.logging import get_logger
from shared.telemetry.metrics import CLAIM_BATCH, DISPATCHED, FAULTS, SKIPPED, TICK_DURATION

log = get_logger(__name__)

SMALLEST_BATCH = 1
"""However large its parameters are, a single schedule is claimed in time."""
BATCH_SECONDS = 0.25
"""A batch that takes longer to its COMMIT is made smaller: what other projects have due meanwhile waits for its end."""
LEAST_FOR_TIME = 500
"""Not below this: far from PostgreSQL the round trips take the time, and smaller batches would only be slower."""


class Claimer:
    """Used by one thread. The backlog, what is in hand, the summary and the planner are shared with the other lane."""

    def __init__(
        self,
        session: Session,
        leadership: Leadership,
        in_hand: InHand,
        backlog: Backlog,
        summary: Summary,
        planner: Planner,
        *,
        batch: int,
        sampled_below: int,
    ) -> None:
        self._session = session
        self._leadership = leadership
        self._in_hand = in_hand
        self._backlog = backlog
        self._summary = summary
        self.batch = self._largest = batch
        self._sampled_below = sampled_below
        self._planner = planner
        self._careful = False
        self.gave_way = False
        """Whether jobs were held or cancelled since it was last reset: the rescue releases held jobs."""

    def next_due(self) -> tuple[datetime | None, datetime]:
        """The earliest instant of dispatch, and the database's time."""
        return self._backlog.next_due(self._session)

    def interrupted(self) -> None:
        """A transaction that was refused or could not end in time is tried again with less to do."""
        self._session.close()
        self.batch = max(SMALLEST_BATCH, self.batch // 2)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def claim(self, epoch: int) -> int:
        """Claim and store one batch; returns how many timers it took."""
        began = clock.monotonic()
        now = dispatch.begin(self._session, LEASE, self._leadership.holder, epoch)
        if now is None:
            self._leadership.lost(epoch)
            return 0
        timers = self._backlog.take(self._session, now, self.batch)
        if not timers:
            self._session.execute("ROLLBACK")
            return 0
        timers.sort(key=attrgetter("schedule_id"))
        try:
            plan, rows = self._store(now, timers) if not self._careful else self._store_carefully(now, timers)
            # A disk that stalls holds up a COMMIT whatever the batch's size: that must not make batches smaller.
            worked = clock.monotonic() - began
            self._commit(rows)
        except StatementRefused as error:
            self._session.rollback()
            if self._careful:
                raise  # not even row by row: something else is wrong, such as a missing migration
            log.warning("A batch could not be written, looking for the schedule at fault: %s", error)
            FAULTS.labels("dispatcher", "unwritable_batch").inc()
            self._careful = True
            return len(timers)
        self._careful = False
        TICK_DURATION.observe(clock.monotonic() - began)
        CLAIM_BATCH.observe(len(timers))
        self._say(plan, [row for _, row in rows], now)
        self.batch = resized(self.batch, worked, self._largest)
        return len(timers)

    def _store(self, now: datetime, timers: list[DueTimer]) -> tuple[Plan, list[tuple[int, Stored]]]:
        """Decide and write; returns what was decided and the outbox rows (with their ids) for the relay."""
        ids = [timer.schedule_id for timer in timers]
        definitions = {one.id: one for one in dispatch.definitions(self._session, ids)}
        asking = [one.id for one in definitions.values() if one.overlap_policy != OverlapPolicy.ALLOW]
        unfinished: dict[int, list[OpenJob]] = defaultdict(list)
        for job in open_jobs(self._session, asking):
            unfinished[job.schedule_id].append(job)
        plan = self._planner.plan(now, timers, definitions, unfinished, self._draw_ids().__next__)
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
        self._in_hand.expect(ids)
        try:
            self._session.execute("COMMIT")
        except (DatabaseUnavailable, StatementRefused):
            self._in_hand.forget(ids)  # committed or not, the table knows
            raise
        self._in_hand.hand_over(rows)

    def _say(self, plan: Plan, rows: Sequence[Stored], began: datetime) -> None:
        full = self._summary.full
        moves = {} if full else {one.schedule_id: one for one in plan.moves}
        carried = traces.traceparents(rows) if self._summary.traced or not full else {}
        for due in plan.due:
            if self._summary.full:
                break
            self._summary.executed(due.job, moves.get(due.job.schedule_id), carried.get(due.job.job_id))
        if self._summary.traced:
            traces.tell([due.job for due in plan.due], carried, began, max(began, clock.now()))
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
            self.gave_way = True
        self._summary.add(len(plan.due), len(plan.skips), len(plan.refused))


def resized(batch: int, took: float, largest: int) -> int:
    """How many the next batch may hold, after one that took so many seconds to its COMMIT."""
    if took > BATCH_SECONDS:
        return max(min(batch, LEAST_FOR_TIME), int(batch * max(0.5, BATCH_SECONDS / took)))
    if took < 0.8 * BATCH_SECONDS:
        return min(largest, batch + batch // 4 + 1)
    return batch
