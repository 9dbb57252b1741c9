"""Requests a caller may make: a token bucket each, in this process's memory.

With several api replicas each counts for itself, so the whole is at most the limit times the replicas; exact sharing
would cost a database write a request.
"""

import threading
from collections import OrderedDict

from shared import clock

_MOST_CALLERS = 10_000


class RateLimiter:
    """`per_minute` requests a caller, in bursts of up to a sixth of that; 0: no limit."""

    def __init__(self, per_minute: int) -> None:
        self._per_second = per_minute / 60
        self._burst = max(1.0, per_minute / 6)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_seconds(self, caller: str) -> float:
        """0 when the request may pass, else how long to wait before the next try."""
        if not self._per_second:
            return 0.0
        now = clock.monotonic()
        with self._lock:
            level, since = self._buckets.pop(caller, (self._burst, now))
            level = min(self._burst, level + (now - since) * self._per_second)
            passes = level >= 1
            self._buckets[caller] = (level - 1 if passes else level, now)
            if len(self._buckets) > _MOST_CALLERS:
                self._buckets.popitem(last=False)
            return 0.0 if passes else (1 - level) / self._per_second
