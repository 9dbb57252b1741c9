"""What librdkafka complains about, said once and not every fifty milliseconds. Used by the clients in this room."""

import re
from logging import Logger
from typing import Any

from shared import clock

AGAIN_AFTER = 30.0
"""Seconds until the same complaint is worth another line."""
QUIET: dict[str, Any] = {"log_level": 2}
"""In every client's configuration: librdkafka's own lines go past the log's form, fifty a second when a broker is away.
What matters of them reaches `error_cb`, too."""
_DETAILS = re.compile(r"\d+")


class Complaints:
    """One client's. Called from librdkafka's callbacks: whichever thread polls."""

    def __init__(self, log: Logger, client: str) -> None:
        self._log = log
        self._client = client
        self._said: dict[str, float] = {}

    def say(self, sentence: str) -> None:
        """Log a problem that the client recovers from by itself; ports and durations make no new one of it."""
        now, kind = clock.monotonic(), _DETAILS.sub("#", sentence)[:200]
        if now - self._said.get(kind, -AGAIN_AFTER) >= AGAIN_AFTER:
            if len(self._said) > 100:
                self._said.clear()
            self._said[kind] = now
            self._log.warning("Kafka reports a problem, the %s goes on by itself: %s", self._client, sentence)
