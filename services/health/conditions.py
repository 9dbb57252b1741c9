"""What the service is waiting for, one sentence a part; /readyz reads it from its own thread."""

import threading
from collections.abc import Callable


class Conditions:
    """Each part says what it lacks, or that it is fine."""

    def __init__(self, **parts: str | None) -> None:
        self._lock = threading.Lock()
        self._lacking: dict[str, str | None] = dict(parts)

    def say(self, part: str, sentence: str | None) -> None:
        """Set a part's sentence; None when it is fine."""
        with self._lock:
            self._lacking[part] = sentence

    def of(self, part: str) -> str | None:
        """What the part lacks now."""
        with self._lock:
            return self._lacking.get(part)

    def checks(self) -> dict[str, Callable[[], str | None]]:
        """A readiness check for every part."""
        return {part: _Check(self, part) for part in self._lacking}


class _Check:
    def __init__(self, conditions: Conditions, part: str) -> None:
        self._conditions, self._part = conditions, part

    def __call__(self) -> str | None:
        return self._conditions.of(self._part)
