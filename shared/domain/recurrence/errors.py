"""What is wrong with a recurrence, said so that the reader can mend it.

The parser and the model raise these; the API turns each problem into one entry of its 422 answer.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One wrong field: its name, the value given, what is allowed, and a better value where one is obvious."""

    field: str
    value: object
    message: str
    suggestion: str | None = None


class RecurrenceError(ValueError):
    """A recurrence that cannot be built. Permanent: the same values fail again. Carries every problem at once."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("; ".join(_sentence(problem) for problem in problems))


def _sentence(problem: Problem) -> str:
    hint = f" Did you mean {problem.suggestion}?" if problem.suggestion else ""
    return f"{problem.field}: {problem.message}.{hint}"
