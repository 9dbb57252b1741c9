"""Follows updates of the time zone database: computes timers anew whose zone's rules may have changed.

Called by the rescue's loop, a few thousand timers a turn, after the dispatcher has become the leader with another
release than the stored timers were computed with. An occurrence that is already due stays: it was promised.
"""

from datetime import datetime

from services.dispatcher.planning import recurrence_of
from shared.domain.recurrence import Recurrence, RecurrenceError, affected, follows_zone, tzdb_version
from shared.domain.schedule import timer_at
from shared.storage import dispatch, zones
from shared.storage.dispatch import TimerMove
from shared.storage.session import Session
from shared.telemetry.logging import get_logger

log = get_logger(__name__)

TIMERS_A_TURN = 2_000


class ZoneRules:
    """One pass over all timers, resumed turn by turn. Used inside the caller's fenced transaction."""

    def __init__(self, version: str | None = None) -> None:
        self._version = version or tzdb_version()
        self._before: str | None = None
        self._after = 0
        self._moved = 0
        self.done = False

    def turn(self, session: Session, now: datetime) -> None:
        """Look after the next timers; sets `done` at the end, when the new release is noted."""
        if self._before is None:
            self._before = zones.version_seen(session)
            if self._before in (None, self._version):
                zones.note_version(session, self._version)
                self.done = True
                return
            log.info(
                "The time zone database changed from %s to %s", self._before, self._version, action="zones.changed"
            )
        timers = zones.lock_timers(session, self._after, TIMERS_A_TURN)
        if not timers:
            zones.note_version(session, self._version)
            log.info("%s timers moved with the new zone rules", self._moved, action="zones.followed")
            self.done = True
            return
        ids = [timer.schedule_id for timer in timers]
        edited = zones.edited_at(session, ids)
        recurrences = {one.id: _recurrence(one) for one in dispatch.definitions(session, ids)}
        moves = []
        for timer in timers:
            recurrence = recurrences.get(timer.schedule_id)
            if recurrence is None or not follows_zone(recurrence):
                continue
            nominal = timer.next_scheduled_for or timer.next_run_at
            since = max(filter(None, (timer.last_claimed_for, edited[timer.schedule_id])))
            if timer.next_run_at > now and (found := affected(recurrence, nominal, since, now)) != nominal:
                at = timer_at(recurrence, timer.schedule_id, found)
                moves.append(
                    TimerMove(timer.schedule_id, at.next_run_at, at.next_scheduled_for, timer.last_claimed_for)
                )
        if moves:
            dispatch.store(session, now, moves, [])
        self._moved += len(moves)
        self._after = ids[-1]


def _recurrence(definition: dispatch.Definition) -> Recurrence | None:
    """None for one that cannot be built: the tick will say so when it falls due."""
    try:
        return recurrence_of(definition)
    except (RecurrenceError, ValueError, KeyError):
        return None
