"""Claims of attempts (table run_claims): the row that starts an attempt, once.

The worker claims, extends, ends and hands back; the api and the dispatcher block attempts that must not start any
more. Instants are the database's own clock. A claim's `worker` is `<instance>#<incarnation>`: the name that survives a
restart, and the one process that really holds it.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

Key = tuple[int, int]
"""(job_id, attempt)"""
STOP = "stop:"
"""How the block of an attempt begins that shall not follow one that was asked to stop: nobody has told its end."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An attempt to claim."""

    job_id: int
    attempt: int
    schedule_id: int
    scheduled_for: datetime


# Arrays travel as one text literal each: psycopg2's own list adaptation takes longer than the statement.
_CLAIM = text(
    "INSERT INTO run_claims (job_id, attempt, schedule_id, scheduled_for, worker, begun_at, lease_until)"
    " SELECT job_id, attempt, schedule_id, scheduled_for, :worker, clock_timestamp(),"
    " clock_timestamp() + make_interval(secs => :lease)"
    " FROM unnest(CAST(:jobs AS bigint[]), CAST(:attempts AS smallint[]), CAST(:schedules AS bigint[]),"
    " CAST(:instants AS timestamptz[])) AS wanted (job_id, attempt, schedule_id, scheduled_for)"
    " ORDER BY job_id, attempt ON CONFLICT DO NOTHING RETURNING job_id, attempt"
)
_EXTEND = text(
    "WITH mine AS (SELECT c.job_id, c.attempt FROM run_claims AS c"
    " JOIN unnest(CAST(:jobs AS bigint[]), CAST(:attempts AS smallint[])) AS known (job_id, attempt)"
    " ON c.job_id = known.job_id AND c.attempt = known.attempt"
    " WHERE c.worker = :worker AND c.ended_at IS NULL ORDER BY c.job_id, c.attempt FOR UPDATE OF c)"
    " UPDATE run_claims AS c SET lease_until = clock_timestamp() + make_interval(secs => :lease)"
    " FROM mine WHERE c.job_id = mine.job_id AND c.attempt = mine.attempt RETURNING c.job_id, c.attempt"
)
_END = text(
    "UPDATE run_claims SET ended_at = clock_timestamp(), will_retry = ended.will_retry"
    " FROM unnest(CAST(:jobs AS bigint[]), CAST(:attempts AS smallint[]), CAST(:retries AS boolean[]))"
    " AS ended (job_id, attempt, will_retry)"
    " WHERE run_claims.job_id = ended.job_id AND run_claims.attempt = ended.attempt AND ended_at IS NULL"
)
_HAND_BACK = text(
    "DELETE FROM run_claims USING unnest(CAST(:jobs AS bigint[]), CAST(:attempts AS smallint[]))"
    " AS back (job_id, attempt) WHERE run_claims.job_id = back.job_id AND run_claims.attempt = back.attempt"
    " AND worker = :worker AND ended_at IS NULL"
)
_BLOCK = text(
    "INSERT INTO run_claims (job_id, attempt, schedule_id, scheduled_for, worker, lease_until, ended_at, will_retry)"
    " SELECT job_id, attempt, schedule_id, scheduled_for, :by, clock_timestamp(), clock_timestamp(), false"
    " FROM unnest(CAST(:jobs AS bigint[]), CAST(:attempts AS smallint[]), CAST(:schedules AS bigint[]),"
    " CAST(:instants AS timestamptz[])) AS wanted (job_id, attempt, schedule_id, scheduled_for)"
    " ORDER BY job_id, attempt ON CONFLICT DO NOTHING RETURNING job_id, attempt"
)
_TO_BE_RETRIED = text(
    "SELECT c.job_id, c.attempt FROM run_claims AS c"
    " JOIN unnest(CAST(:jobs AS bigint[]), CAST(:attempts AS smallint[])) AS asked (job_id, attempt)"
    " ON c.job_id = asked.job_id AND c.attempt = asked.attempt WHERE c.ended_at IS NOT NULL AND c.will_retry"
)
_OPEN_HOLDERS = text("SELECT DISTINCT worker FROM run_claims WHERE ended_at IS NULL AND starts_with(worker, :instance)")
_EXPIRE = text(
    "UPDATE run_claims SET lease_until = clock_timestamp()"
    " WHERE worker = ANY(:workers) AND ended_at IS NULL AND lease_until > clock_timestamp()"
)


def claim(connection: Connection, worker: str, lease_seconds: float, wanted: Sequence[Wanted]) -> set[Key]:
    """Claim what nobody has claimed, in one statement; returns the attempts that are now this worker's to start."""
    rows = connection.execute(_CLAIM, {"worker": worker, "lease": lease_seconds, **_arrays(wanted)})
    return {(job_id, attempt) for job_id, attempt in rows}


def extend(connection: Connection, worker: str, lease_seconds: float, known: Collection[Key]) -> set[Key]:
    """Heartbeat: renew the leases of the attempts this worker has in hand; returns those that are still its own.

    Never those of all its claims: one whose commit was cut off before the answer came is nobody's to run, and with a
    lease that is renewed it would stay open for as long as this worker lives.
    """
    ordered = sorted(known)
    rows = connection.execute(
        _EXTEND,
        {
            "worker": worker,
            "lease": lease_seconds,
            "jobs": _array(job_id for job_id, _ in ordered),
            "attempts": _array(attempt for _, attempt in ordered),
        },
    )
    return {(job_id, attempt) for job_id, attempt in rows}


def end(connection: Connection, ended: Collection[tuple[int, int, bool]]) -> None:
    """Mark attempts (job_id, attempt, will_retry) ended, after Kafka has acknowledged their results."""
    ordered = sorted(ended)  # rows are locked in primary-key order, everywhere
    connection.execute(
        _END,
        {
            "jobs": _array(job_id for job_id, _, _ in ordered),
            "attempts": _array(attempt for _, attempt, _ in ordered),
            "retries": _array("t" if will_retry else "f" for _, _, will_retry in ordered),
        },
    )


def hand_back(connection: Connection, worker: str, unbegun: Collection[Key]) -> None:
    """Give up claims whose execution has not begun: whoever receives the attempt next may claim it."""
    ordered = sorted(unbegun)
    connection.execute(
        _HAND_BACK,
        {
            "worker": worker,
            "jobs": _array(job_id for job_id, _ in ordered),
            "attempts": _array(attempt for _, attempt in ordered),
        },
    )


def block(
    connection: Connection, job_id: int, attempt: int, schedule_id: int, scheduled_for: datetime, by: str
) -> bool:
    """Make sure that nobody starts this attempt any more; False when somebody already has. `by`: `cancelled:<who>` …"""
    return bool(block_all(connection, [Wanted(job_id, attempt, schedule_id, scheduled_for)], by))


def block_all(connection: Connection, attempts: Sequence[Wanted], by: str) -> set[Key]:
    """The same for many at once; returns those that nobody can start now."""
    rows = connection.execute(_BLOCK, {"by": by, **_arrays(attempts)})
    return {(job_id, attempt) for job_id, attempt in rows}


def to_be_retried(connection: Connection, attempts: Collection[Key]) -> set[Key]:
    """Those that have failed and that another attempt follows, also where health has not recorded it yet."""
    values = {"jobs": _array(job for job, _ in attempts), "attempts": _array(attempt for _, attempt in attempts)}
    return {(job_id, attempt) for job_id, attempt in connection.execute(_TO_BE_RETRIED, values)}


def holders(connection: Connection, instance: str) -> list[str]:
    """The incarnations of this instance that hold open claims."""
    return list(connection.scalars(_OPEN_HOLDERS, {"instance": f"{instance}#"}))


def expire(connection: Connection, workers: Sequence[str]) -> int:
    """End the leases of workers known to be dead, so that the rescue takes their claims at once; returns how many."""
    return connection.execute(_EXPIRE, {"workers": list(workers)}).rowcount


def _arrays(wanted: Sequence[Wanted]) -> dict[str, str]:
    return {
        "jobs": _array(one.job_id for one in wanted),
        "attempts": _array(one.attempt for one in wanted),
        "schedules": _array(one.schedule_id for one in wanted),
        "instants": _array(f'"{one.scheduled_for.isoformat()}"' for one in wanted),
    }


def _array(values: Iterable[object]) -> str:
    return "{" + ",".join(map(str, values)) + "}"


_EXTEND_ONE = text(
    "UPDATE run_claims SET lease_until = clock_timestamp() + make_interval(secs => :lease)"
    " WHERE job_id = :job_id AND attempt = :attempt AND worker = :worker AND ended_at IS NULL RETURNING job_id"
)
_LEASE = text("SELECT lease_until FROM run_claims WHERE job_id = :job_id AND attempt = :attempt")


def extend_one(connection: Connection, job_id: int, attempt: int, worker: str, lease_seconds: float) -> bool:
    """Heartbeat of one attempt, for workers elsewhere; False when it is not (or no longer) this worker's."""
    values = {"job_id": job_id, "attempt": attempt, "worker": worker, "lease": lease_seconds}
    return connection.execute(_EXTEND_ONE, values).one_or_none() is not None


def lease_until(connection: Connection, job_id: int, attempt: int) -> datetime:
    """When the lease of a claimed attempt ends."""
    until: datetime = connection.execute(_LEASE, {"job_id": job_id, "attempt": attempt}).scalar_one()
    return until
