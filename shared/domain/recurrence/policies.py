"""The words a recurrence is made of: frequencies and DST policies.

Used by the model, the zones, and everyone who stores or shows a schedule.
"""

from __future__ import annotations

from enum import StrEnum


class Frequency(StrEnum):
    """How a schedule repeats."""

    ONCE = "once"
    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    CRON = "cron"
    INTERVAL = "interval"


class DstGap(StrEnum):
    """What becomes of a fixed-time occurrence whose local time does not exist."""

    SHIFT = "shift"  # once, at the first instant after the gap (Debian cron)
    SKIP = "skip"


class DstOverlap(StrEnum):
    """Which pass of a repeated local time a fixed-time occurrence takes."""

    FIRST = "first"  # Debian cron
    LAST = "last"
    BOTH = "both"
