"""Reads SARIF result by result, in memory for one result at a time: an analysis may have found 100,000 things.

Used by findings.py. Whole values are left to the standard decoder; only the way down to `runs[*].results[*]` is walked
here. What a run says beside its results (its tool and rules) is small and given as one object.
"""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

_CHUNK = 1 << 17
_SPACE = " \t\r\n"
_AFTER = frozenset(f"{_SPACE},:]}}")


class SarifUnreadable(Exception):
    """The file is no SARIF."""


@dataclass(frozen=True, slots=True)
class Result:
    """One entry of a run's `results`."""

    run: int
    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """All of a run but its results; comes after the last of them."""

    run: int
    value: dict[str, Any]


def read(stream: BinaryIO) -> Iterator[Result | RunFacts]:
    """Every result, and every run's facts after its results. Raises SarifUnreadable, maybe after some of them."""
    scanner = _Scanner(stream)
    try:
        for key in scanner.members():
            if key != "runs":
                scanner.value()
                continue
            for number in scanner.items():
                yield from _run(scanner, number)
    except (ValueError, RecursionError) as error:
        raise SarifUnreadable(f"no SARIF: {error}") from error
    finally:
        scanner.leave()


def _run(scanner: "_Scanner", number: int) -> Iterator[Result | RunFacts]:
    facts: dict[str, Any] = {}
    for key in scanner.members():
        if key != "results" or scanner.peek() != "[":
            facts[key] = scanner.value()
            continue
        for _ in scanner.items():
            value = scanner.value()
            if not isinstance(value, dict):
                raise ValueError("a result is no object")  # noqa: TRY004 - wrong text, not wrong use
            yield Result(number, value)
    yield RunFacts(number, facts)


class _Scanner:
    """A place in a JSON text that is read in chunks."""

    def __init__(self, stream: BinaryIO) -> None:
        self._text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        self._buffer = ""
        self._at = 0
        self._ended = False
        self._decoder = json.JSONDecoder()

    def leave(self) -> None:
        """Let go of the stream, which is its owner's to close."""
        self._text.detach()

    def peek(self) -> str:
        """The next character that is no space."""
        while True:
            while self._at < len(self._buffer):
                if self._buffer[self._at] not in _SPACE:
                    return self._buffer[self._at]
                self._at += 1
            if not self._more(_CHUNK):
                raise ValueError("it ends too early")

    def value(self) -> Any:
        """The whole value that begins here."""
        self.peek()
        wanted = _CHUNK
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
            except ValueError:
                if not self._more(wanted):
                    raise
            else:
                # A number may go on in the next chunk: `1.` has been read as 1 so far.
                if self._buffer[end : end + 1] in _AFTER or not self._more(wanted):
                    self._at = end
                    return value
            wanted *= 2  # a large value is tried a few times, not once a chunk

    def members(self) -> Iterator[str]:
        """The keys of the object that begins here; the caller takes each value before it asks for the next."""
        for _ in self._listed("{", "}"):
            key = self.value()
            if not isinstance(key, str):
                raise ValueError("a member without a name")  # noqa: TRY004 - wrong text, not wrong use
            self._take(":")
            yield key

    def items(self) -> Iterator[int]:
        """The positions in the array that begins here; the caller takes each value before it asks for the next."""
        return self._listed("[", "]")

    def _listed(self, opening: str, closing: str) -> Iterator[int]:
        self._take(opening)
        number = 0
        if self.peek() == closing:
            self._at += 1
            return
        while True:
            yield number
            number += 1
            if self.peek() == closing:
                self._at += 1
                return
            self._take(",")

    def _take(self, character: str) -> None:
        found = self.peek()
        if found != character:
            raise ValueError(f"{character} expected, {found} found")
        self._at += 1

    def _more(self, size: int) -> bool:
        if self._ended:
            return False
        chunk = self._text.read(size)
        self._ended = not chunk
        self._buffer = self._buffer[self._at :] + chunk
        self._at = 0
        return not self._ended
