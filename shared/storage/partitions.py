"""Daily partitions of jobs and audit_log, kept ahead by the dispatcher (ensure_partitions, first migration)."""

from datetime import date, timedelta

from shared.storage.session import Session

DAYS_AHEAD = 8
DAYS_BACK = 1


def ensure_ahead(session: Session, today: date) -> int:
    """Create what is missing from yesterday to eight days ahead; returns how many were made."""
    values = {"first": today - timedelta(days=DAYS_BACK), "last": today + timedelta(days=DAYS_AHEAD)}
    return int(session.execute("SELECT ensure_partitions(%(first)s, %(last)s)", values)[0][0])
