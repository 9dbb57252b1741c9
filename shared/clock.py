"""The one reader of the clock.

Services read it once per decision and pass the instant on; rules and storage take `now` as a parameter. Due-ness
and leases are judged by PostgreSQL's clock instead (DESIGN section 3): this one only stamps events and measures.
"""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """The current instant, aware, in UTC."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Seconds on a clock that never goes back: for durations and deadlines inside one process."""
    return time.monotonic()
