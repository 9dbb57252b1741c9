"""Whether PostgreSQL answers, felt every two seconds on a thread of its own.

A stopped server answers nothing, not even a refusal, so /readyz must not ask it: it looks at when the last answer came.
"""

import threading

from shared import clock
from shared.process import Process
from shared.storage.database import Database, DatabaseUnavailable

EVERY = 2.0
SILENT_AFTER = 8.0


class Pulse:
    """The last answer and its age."""

    def __init__(self, database: Database, process: Process) -> None:
        self._database, self._process = database, process
        self._refusal: str | None = "PostgreSQL was not asked yet"
        self._answered = clock.monotonic()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        """Feel until the process stops."""
        self._thread.start()

    def feel(self) -> None:
        """Ask once."""
        try:
            self._database.ping()
        except DatabaseUnavailable as error:
            self._refusal = f"PostgreSQL does not answer: {error}"
        else:
            self._refusal = None
        self._answered = clock.monotonic()

    def lacking(self) -> str | None:
        """None when PostgreSQL answers, else one sentence. Returns at once."""
        silence = clock.monotonic() - self._answered
        if silence > SILENT_AFTER:
            return f"PostgreSQL has not answered for {silence:.0f} s"
        return self._refusal

    def _run(self) -> None:
        while not self._process.stopping.wait(EVERY):
            self.feel()
