"""Waits for NOTIFY: wakes the tick and the relay when an api instance has stored something.

Nothing depends on it: what a lost notification told of is found by the loops' own looks.
"""

import os
import select
from collections.abc import Callable, Mapping

from shared.storage.database import DatabaseUnavailable
from shared.storage.session import Session, StatementRefused


class Listener:
    """Listens on a connection of its own. `close` may be called from another thread."""

    def __init__(self, session: Session, on_notify: Mapping[str, Callable[[str], None]]) -> None:
        """`on_notify`: by channel, takes the payload; "" also for whatever may have been missed."""
        self._session = session
        self._on_notify = dict(on_notify)
        self._closing, self._close = os.pipe()
        self._stopped = False

    def run(self, on_trouble: Callable[[str], None], retry_seconds: float = 0.5) -> None:
        """Listen until closed. After a cut connection everyone is woken: what was notified meanwhile is lost.

        `on_trouble` hears of each interruption once, however long it lasts.
        """
        interrupted = False
        while not self._stopped:
            try:
                for channel in self._on_notify:
                    self._session.execute(f"LISTEN {channel}")
                for tell in self._on_notify.values():
                    tell("")
                interrupted = False
                self._wait()
            except (DatabaseUnavailable, StatementRefused, OSError) as error:
                self._session.close()
                if not interrupted:
                    on_trouble(str(error))
                interrupted = True
                select.select([self._closing], [], [], retry_seconds)
        self._session.close()

    def close(self) -> None:
        """End `run`."""
        self._stopped = True
        os.write(self._close, b"x")

    def _wait(self) -> None:
        while not self._stopped:
            ready, _, _ = select.select([self._session.fileno(), self._closing], [], [], 60)
            if self._closing in ready:
                return
            for channel, payload in self._session.notifications():
                tell = self._on_notify.get(channel)
                if tell is not None:
                    tell(payload)
