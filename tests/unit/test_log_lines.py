"""What comes from outside into a log line stays text: seen as a path with a NUL that made grep call the log binary."""

from __future__ import annotations

import errno
import io

import pytest

from shared.telemetry.logging import _logfmt, _Writer
from shared.telemetry.metrics import FAULTS


def _line(message: str, **fields: object) -> str:
    return _logfmt(None, "info", {"timestamp": "T", "level": "info", "event": message, **fields})


@pytest.mark.parametrize("hostile", ["\x00", "\r\n", "\x1b[2J", "\u202e", "\u2028", "\x85", "\ud800"])
def test_no_character_of_a_caller_controls_a_terminal_a_line_or_grep(hostile: str) -> None:
    line = _line(f"GET /{hostile} 404", event_id=f"x{hostile}")
    assert line.isprintable()
    assert line.encode()
    assert _line("Grüße, 東京 😀").startswith("T INFO  Grüße, 東京 😀")


def test_a_value_of_any_length_is_one_line_of_bounded_length() -> None:
    line = _line("m" * 1_000_000, reason="r" * 1_000_000)
    assert len(line) < 10_000
    assert "(1,000,000 characters)" in line


def test_a_line_that_cannot_be_written_is_counted_and_stops_nobody() -> None:
    class FullDisk(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    lost = FAULTS.labels("test", "log_line_not_written")
    _Writer("test", FullDisk()).info("a line")
    _Writer("test", FullDisk()).error("another")
    assert lost._value.get() == 2
