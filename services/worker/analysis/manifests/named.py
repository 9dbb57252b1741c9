"""What every reader of a manifest gives: names, exact versions where there are any, and where it says so.

Used by the readers beside this file and by services/worker/analysis/dependencies.py.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Named:
    """One dependency as a file names it. `version` is exact, or None where the file only gives a range."""

    name: str
    version: str | None
    line: int


Reader = Callable[[str], Iterable[Named]]
"""Takes a file's text. Raises ValueError, SyntaxError, RecursionError, or what a wrong shape leads to (KeyError,
TypeError, AttributeError)."""


class Lines:
    """Finds the line that says something, in formats whose parsers keep no line numbers."""

    def __init__(self, text: str) -> None:
        self._numbers: dict[str, int] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            self._numbers.setdefault(line.strip().rstrip(","), number)

    def number(self, *ways: str) -> int:
        """The first line that is one of these texts, blanks and a last comma aside; 1 where none is."""
        return next((self._numbers[way] for way in ways if way in self._numbers), 1)


def text_or_none(value: object) -> str | None:
    """A version as it came out of JSON or TOML; anything but a text is none."""
    return value if isinstance(value, str) and value else None
