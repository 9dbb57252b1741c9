"""Which task types this worker serves: the built-in handlers, and those of installed packages.

A package plugs in through the entry point group `commandcenter.tasks`; each entry names a decorated function. A
handler that cannot be imported is logged and left out: it must not take the others with it.
"""

import importlib
from importlib.metadata import entry_points

from services.worker.task import Handler
from shared.events.task_types import BUILT_IN
from shared.events.topics import TASK_TYPE_NAME
from shared.telemetry.logging import get_logger

log = get_logger(__name__)

GROUP = "commandcenter.tasks"
BUILT_IN_NAMES = frozenset(task_type.name for task_type in BUILT_IN)
_MODULES = ("health_check", "analysis", "webhook_delivery", "sync", "export", "batch")


def handlers(only: frozenset[str] | None = None) -> dict[str, Handler]:
    """Every handler by its task type; `only` these types where given."""
    found = [getattr(importlib.import_module(f"services.worker.tasks.{name}"), name) for name in _MODULES]
    found.extend(_plugged_in())
    known: dict[str, Handler] = {}
    for handler in found:
        if only is not None and handler.task_type not in only:
            continue
        if handler.task_type in known:
            log.error(
                f"Task type {handler.task_type} has two handlers; the first one serves it",
                action="task_type.twice",
                handler=handler.path,
            )
            continue
        known[handler.task_type] = handler
    return known


def _plugged_in() -> list[Handler]:
    found = []
    for point in entry_points(group=GROUP):
        try:
            handler = point.load()
        except (Exception, SystemExit) as error:  # the boundary of foreign code: importing it may raise anything
            log.exception(
                "A task plug-in cannot be imported", action="task_type.broken", plugin=point.value, error=str(error)
            )
            continue
        if not isinstance(handler, Handler) or not TASK_TYPE_NAME.fullmatch(handler.task_type):
            log.error("A task plug-in is no task handler", action="task_type.broken", plugin=point.value)
            continue
        try:
            handler.parameters.model_json_schema()
        except Exception as error:  # the same boundary; the worker registers the type with this schema
            log.exception(
                "A task plug-in's parameters have no JSON Schema",
                action="task_type.broken",
                plugin=point.value,
                error=str(error),
            )
            continue
        found.append(handler)
    return found
