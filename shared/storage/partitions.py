"""Daily partitions of jobs and audit_log, kept ahead by the dispatcher (ensure_partitions, first migration)."""

from datetime import date, timedelta

from shared.storage.session import Session

DAYS_AHEAD = 8
DAYS_BACK = 1

_LAST = """
SELECT count(*) FROM generate_series(0, %(days)s) AS ahead
WHERE to_regclass('jobs_' || to_char((clock_timestamp() AT TIME ZONE 'UTC')::date + ahead, 'YYYYMMDD')) IS NOT NULL
"""


def ensure_ahead(session: Session, today: date) -> int:
    """Create what is missing from yesterday to eight days ahead; returns how many were made."""
    values = {"first": today - timedelta(days=DAYS_BACK), "last": today + timedelta(days=DAYS_AHEAD)}
    return int(session.execute("SELECT ensure_partitions(%(first)s, %(last)s)", values)[0][0])


def days_ready(session: Session) -> int:
    """How many of today and the following seven days have their partition: 8 when all is well."""
    return int(session.execute(_LAST, {"days": 7})[0][0])
