"""The delay of a start behind its occurrence, fixed by schedule and occurrence.

Called by the dispatcher when it stores a job's earliest start. Spreading by a hash needs no state: every replica, and
every retry of the same transaction, comes to the same delay.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from shared.domain.recurrence.model import Recurrence

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_MASK = (1 << 64) - 1


def jitter_delay(
    recurrence: Recurrence, schedule_id: int, occurrence: datetime, following: datetime | None
) -> timedelta:
    """How long after its occurrence a schedule's job starts: 0 to jitter_seconds, in whole milliseconds.

    Always before `following`, the next occurrence (None: there is none), so that starts keep their order.
    """
    most = recurrence.jitter_seconds * 1000
    if not most:
        return timedelta()
    if following is not None:
        most = min(most, (following - occurrence) // _MILLISECOND - 1)
    if most <= 0:
        return timedelta()
    mixed = _splitmix64(schedule_id * 0x9E3779B97F4A7C15 ^ _splitmix64((occurrence - _EPOCH) // _MILLISECOND))
    return timedelta(milliseconds=mixed % (most + 1))


def _splitmix64(value: int) -> int:
    """The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): a cheap, even mixing of 64 bits."""
    value = value + 0x9E3779B97F4A7C15 & _MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31
