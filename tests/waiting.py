"""How tests wait: for a condition, with a deadline, never for a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T | None], timeout: float = 10.0, what: str = "", poll: float = 0.05) -> T:
    """Poll until the condition gives something true, and return it; AssertionError after `timeout` seconds.

    An AssertionError inside the condition counts as "not yet"; the last one is shown when time is over.
    """
    deadline = time.monotonic() + timeout
    while True:
        failure: AssertionError | None = None
        value: T | None = None
        try:
            value = condition()
        except AssertionError as error:
            failure = error
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout:g} s: {what or condition} (last: {failure or value!r})")
        time.sleep(poll)
