"""When a schedule is due, exactly.

The API validates and previews with this package, the dispatcher advances schedules with it; both see the same answers.
Rules of time: docs/time.md.
"""

from shared.domain.recurrence.describe import describe
from shared.domain.recurrence.errors import Problem, RecurrenceError
from shared.domain.recurrence.explain import Explained, explain_dropped, explain_occurrences
from shared.domain.recurrence.jitter import jitter_delay
from shared.domain.recurrence.model import Recurrence
from shared.domain.recurrence.policies import DstGap, DstOverlap, Frequency
from shared.domain.recurrence.search import (
    affected,
    count_between,
    follows_zone,
    last_until,
    next_after,
    next_after_many,
    occurrences,
)
from shared.domain.recurrence.tzdb import tzdb_newer, tzdb_source, tzdb_version
from shared.domain.recurrence.validation import problem_if_past

__all__ = [
    "DstGap",
    "DstOverlap",
    "Explained",
    "Frequency",
    "Problem",
    "Recurrence",
    "RecurrenceError",
    "affected",
    "count_between",
    "describe",
    "explain_dropped",
    "explain_occurrences",
    "follows_zone",
    "jitter_delay",
    "last_until",
    "next_after",
    "next_after_many",
    "occurrences",
    "problem_if_past",
    "tzdb_newer",
    "tzdb_source",
    "tzdb_version",
]
