"""`make logs`: the last lines of every log, then whatever is added; or everything, for grep."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from deploy.local.errors import StackError

_LAST = 20
"""Lines of each log with which following begins."""


def show(directory: Path, only: str | None, follow: bool, say: Callable[[str], None]) -> None:
    """Print each log with its process's name: its last lines and, until Ctrl-C, what is added; or all of it.

    Raises StackError when there is no such log.
    """
    pattern = f"{only}.log" if only else "*.log"
    found = sorted(directory.glob(pattern))
    if not found:
        known = ", ".join(sorted(path.stem for path in directory.glob("*.log")))
        raise StackError(
            f"There is no log {only} in {directory}: use one of {known}."
            if known
            else f"There are no logs in {directory}: make start first."
        )
    positions: dict[Path, int] = {}
    for path in found:
        for line in [] if follow else _older(path):
            say(_shown(path, line, only))
        with path.open("rb") as log:
            for line in deque(log, maxlen=_LAST) if follow else log:
                say(_shown(path, line, only))
            positions[path] = log.tell()
    while follow:
        for path in sorted(directory.glob(pattern)):
            positions[path] = _more(path, positions.get(path, 0), only, say)
        time.sleep(0.2)


def _older(path: Path) -> Iterator[bytes]:
    """What was moved aside when the log had grown too long."""
    moved = path.with_name(path.name + ".1")
    if moved.exists():
        with moved.open("rb") as log:
            yield from log


def _more(path: Path, position: int, only: str | None, say: Callable[[str], None]) -> int:
    """Print whole new lines; returns where to go on."""
    with path.open("rb") as log:
        if path.stat().st_size < position:
            position = 0  # the log was cut
        log.seek(position)
        for line in log:
            if not line.endswith(b"\n"):
                break  # still being written
            say(_shown(path, line, only))
            position += len(line)
    return position


def _shown(path: Path, line: bytes, only: str | None) -> str:
    text = line.decode(errors="replace").rstrip("\n")
    return text if only else f"{path.stem:<11} | {text}"
