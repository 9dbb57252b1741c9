"""One connection, as uvicorn serves it, with bounds on a request's head: how large it may be, and how long it may take.

uvicorn has neither for httptools: forty megabytes of headers were kept for whoever sent them, and a caller who never
ended a head kept its connection for ever.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD = 262_144
"""Bytes that may come before a head is complete; the chunk that completes it does not count."""
HEAD_SECONDS = 20.0


class Connection(HttpToolsProtocol):
    """Closes itself on a head that is too large or does not come."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._received = 0
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first head is awaited from now on."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more is awaited."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts what comes while a head is incomplete."""
        super().data_received(data)
        if self._patience is not None:
            self._received += len(data)
            if self._received > LARGEST_HEAD:
                self.transport.close()

    def on_message_begin(self) -> None:
        """Another head is awaited."""
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        """A head is there."""
        self._stop_waiting()
        super().on_headers_complete()

    def _await_head(self) -> None:
        if self._patience is None:
            self._received = 0
            self._patience = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
