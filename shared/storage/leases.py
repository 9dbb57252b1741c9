"""The lease that makes one dispatcher the leader (table leases), with its epoch as the fence.

A claiming transaction begins with FENCE: it locks the lease row FOR KEY SHARE under its own epoch. Taking over locks
the row FOR UPDATE, so it waits for every claiming transaction of the deposed leader and none can begin after it;
renewing touches no key column, so it waits for nobody. Expiry is judged by clock_timestamp(): now() stands still in a
transaction. A lease that ends later than any lease can was given before the clock was set back: its holder may be gone
long since, and if it is not, it learns of the new epoch as from any take-over.
"""

from dataclasses import dataclass
from datetime import datetime

from shared.storage.session import Session

FENCE = """
SELECT clock_timestamp() FROM leases
WHERE name = %(lease)s AND holder = %(holder)s AND epoch = %(epoch)s AND expires_at > clock_timestamp()
FOR KEY SHARE
"""
"""Gives the database's time, or no row to a deposed leader."""

LONGEST_SECONDS = 60
"""No lease is given for longer. One held by hand, until `infinity`, is let alone."""
_EXPIRED = f"""(expires_at <= clock_timestamp()
    OR isfinite(expires_at) AND expires_at > clock_timestamp() + interval '{LONGEST_SECONDS} seconds')"""
_LOOK = f"SELECT holder, epoch, {_EXPIRED}, acquired_at FROM leases WHERE name = %(lease)s"  # noqa: S608 (a constant)
_LOCK_AND_TAKE = f"""
BEGIN;
SELECT 1 FROM leases WHERE name = %(lease)s FOR UPDATE;
UPDATE leases SET holder = %(holder)s, epoch = epoch + 1, acquired_at = clock_timestamp(),
    expires_at = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE name = %(lease)s AND {_EXPIRED}
RETURNING epoch
"""  # noqa: S608 (a constant)
_RENEW = """
UPDATE leases SET expires_at = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE name = %(lease)s AND holder = %(holder)s AND epoch = %(epoch)s AND expires_at > clock_timestamp()
RETURNING epoch
"""
_RELEASE = """
UPDATE leases SET expires_at = '-infinity' WHERE name = %(lease)s AND holder = %(holder)s AND epoch = %(epoch)s
"""
_ENSURE = "INSERT INTO leases (name) VALUES (%(lease)s) ON CONFLICT DO NOTHING"


@dataclass(frozen=True, slots=True)
class Seen:
    """A look at the lease."""

    holder: str | None
    epoch: int
    expired: bool
    acquired_at: datetime | None


def look(session: Session, lease: str) -> Seen:
    """Who holds it."""
    rows = session.prepared(_LOOK, {"lease": lease})
    if not rows:
        session.execute(_ENSURE, {"lease": lease})
        return Seen(None, 0, True, None)
    holder, epoch, expired, acquired_at = rows[0]
    return Seen(holder, epoch, expired, acquired_at)


def take(session: Session, lease: str, holder: str, seconds: float) -> int | None:
    """Take an expired lease; returns the new epoch, or None when it is not expired (any more).

    Waits for the deposed leader's last transaction, which its timeouts bound.
    """
    rows = session.execute(_LOCK_AND_TAKE, {"lease": lease, "holder": holder, "seconds": seconds})
    session.execute("COMMIT")
    return rows[0][0] if rows else None


def renew(session: Session, lease: str, holder: str, epoch: int, seconds: float) -> bool:
    """Extend it; False when it is no longer ours."""
    values = {"lease": lease, "holder": holder, "epoch": epoch, "seconds": seconds}
    return bool(session.prepared(_RENEW, values))


def release(session: Session, lease: str, holder: str, epoch: int) -> None:
    """Give it up: whoever looks next may take it at once."""
    session.execute(_RELEASE, {"lease": lease, "holder": holder, "epoch": epoch})
