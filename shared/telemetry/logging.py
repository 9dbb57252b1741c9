"""Structured logs: one line an event, logfmt by default and JSON by a setting.

Each service calls `configure` once from its wiring; everyone else takes `get_logger(__name__)` and logs a sentence with
`schedule_id`, `job_id` and `action` as fields. A line reads

    2025-10-12T15:30:00.123456Z INFO  Created schedule 123 (…) service=api action=schedule.created schedule_id=123

so that the reference's messages and `grep schedule_id=123` both find it. Values with spaces are quoted; secrets never
belong in a field.
"""

import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, TextIO

import orjson
import structlog
from opentelemetry import trace
from structlog.typing import FilteringBoundLogger, Processor

from shared.settings import SharedSettings
from shared.telemetry.metrics import FAULTS

Logger = FilteringBoundLogger
_FIRST = ("service", "action", "schedule_id", "job_id")
_LONGEST = 4_000


def get_logger(name: str) -> Logger:
    """A logger for one module."""
    logger: Logger = structlog.get_logger(name)
    return logger


def configure(service: str, settings: SharedSettings) -> None:
    """Send every log line of this process, libraries' included, to standard output in one form."""
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _adder(service),
        structlog.processors.format_exc_info,
    ]
    renderer: Processor = _json if settings.log_format == "json" else _logfmt
    structlog.configure(
        processors=[*shared, renderer],
        # Not by way of the standard library's loggers: for each line those look up who called, half of its cost.
        logger_factory=lambda *_: _Writer(service, sys.stdout),
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)


class _Writer(structlog.WriteLogger):
    """Writes lines. A full disk or a closed pipe costs the line, never the work that it tells of."""

    def __init__(self, service: str, file: TextIO) -> None:
        super().__init__(file)
        self._service = service

    def msg(self, message: str) -> None:
        """Write one line."""
        try:
            super().msg(message)
        except (OSError, ValueError):
            FAULTS.labels(self._service, "log_line_not_written").inc()

    log = debug = info = warn = warning = fatal = failure = err = error = critical = exception = msg


def _adder(service: str) -> Callable[[Any, str, MutableMapping[str, Any]], MutableMapping[str, Any]]:
    def add(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"] = service
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            event["trace_id"] = f"{context.trace_id:032x}"
        return event

    return add


def _ordered(event: MutableMapping[str, Any]) -> list[tuple[str, Any]]:
    first = [(name, event[name]) for name in _FIRST if event.get(name) is not None]
    return first + [(name, value) for name, value in event.items() if name not in _FIRST and value is not None]


def _logfmt(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    time, level = event.pop("timestamp"), event.pop("level")
    message, exception = str(event.pop("event")), event.pop("exception", None)
    fields = " ".join(f"{name}={_quoted(value)}" for name, value in _ordered(event))
    line = f"{time} {level.upper()}  {_one_line(message)} {fields}"
    return f"{line}\n{exception}" if exception else line


def _one_line(message: str) -> str:
    """A message that came from outside cannot start a line of its own, turn a terminal's direction or colours, fill a
    disk, or, by one NUL, make grep call the whole log a binary file.
    """
    if len(message) > _LONGEST:
        message = f"{message[:_LONGEST]}… ({len(message):,} characters)"
    if message.isprintable():
        return message
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in message)


def _quoted(value: object) -> str:
    text = _one_line(str(value))
    if text and not any(character in text for character in ' "='):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _json(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    event["message"] = event.pop("event")
    return orjson.dumps(dict(_ordered(event)), default=str).decode()
