"""One benchmark at a time on a machine: two at once would only measure each other. Taken by `make bench`."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = Path(tempfile.gettempdir()) / "commandcenter-bench.lock"


@contextmanager
def turn() -> Iterator[None]:
    """Wait, saying so, until no other `make bench` runs on this machine."""
    with LOCK.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another make bench runs on this machine: waiting for it to end.", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
