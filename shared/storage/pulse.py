"""Whether PostgreSQL answers and has this version's tables, felt every second on a thread of its own.

A frozen server answers nothing, not even a refusal: its machine still acknowledges what is sent, so no timeout of TCP
or of the server ends the wait. /readyz must not ask such a server: it looks at how long the question has been open.
"""

import threading

from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from shared import clock
from shared.process import Process
from shared.storage import schema
from shared.storage.database import Database, DatabaseUnavailable, first_line

EVERY = 1.0
SILENT_AFTER = 4.0


class Pulse:
    """The last answer, and how long the next has been waited for. One question at a time."""

    def __init__(self, database: Database, process: Process) -> None:
        self._database, self._process = database, process
        self._refusal: str | None = "PostgreSQL does not answer yet"
        self._complete = False
        self._felt = threading.Event()
        self._asked: float | None = None
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        """Feel until the process stops."""
        self._thread.start()

    def feel(self) -> None:
        """Ask once."""
        self._asked = clock.monotonic()
        try:
            if self._complete:
                self._database.ping()
                self._refusal = None
            else:
                self._refusal = self._look_at_tables()
                self._complete = self._refusal is None
        except DatabaseUnavailable as error:
            self._refusal = f"PostgreSQL does not answer: {error}"
        self._asked = None
        self._felt.set()

    def wait(self, seconds: float) -> None:
        """Wait for the first answer, or refusal; at most so long."""
        self._felt.wait(seconds)

    def _look_at_tables(self) -> str | None:
        try:
            with self._database.statements() as connection:
                return schema.lacking(lambda statement: connection.execute(text(statement)).scalar_one())
        except ProgrammingError as error:  # the migration step has made them and not yet said who may read them
            return f"the tables cannot be read: {first_line(error)}"

    def silence(self) -> str | None:
        """One sentence while a question is open for too long, else None. Returns at once."""
        asked = self._asked
        seconds = 0.0 if asked is None else clock.monotonic() - asked
        return f"PostgreSQL has not answered for {seconds:.0f} s" if seconds > SILENT_AFTER else None

    def lacking(self) -> str | None:
        """None when PostgreSQL answers, else one sentence. Returns at once."""
        return self.silence() or self._refusal

    def _run(self) -> None:
        while not self._process.stopping.is_set():
            self.feel()
            self._process.stopping.wait(EVERY)
