"""What the recurrence rules say of a body that its model refuses, so that one answer names every wrong field.

Called by `beside` for bodies that no stored thing helps to judge; an accepted body is judged where it is used.
"""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from services.api.models.schedules import ScheduleUpdate, Timing
from services.api.problems import of_recurrence
from shared.domain.recurrence import RecurrenceError
from shared.domain.schedule import TIMING_FIELDS, Definition, recurrence_of

_ANY_INSTANT = datetime(2000, 1, 1, tzinfo=UTC)
"""Anchors the intervals; nothing is computed from it."""


def wrong_timing(model: object, document: object, refused: Collection[str]) -> list[dict[str, Any]]:
    """The timing fields that break a rule among those that the body's model did not refuse; none for other bodies."""
    if not isinstance(model, type) or not issubclass(model, (Timing, ScheduleUpdate)) or not isinstance(document, dict):
        return []
    sent = {name: value for name, value in document.items() if name in TIMING_FIELDS and name not in refused}
    # The model of changes reads each field as the refused one does, and misses none.
    read = ScheduleUpdate.model_validate(sent).model_dump(include=set(sent), exclude_none=True)
    try:
        recurrence_of(Definition(0, "", "", **{"frequency": "", **read}), _ANY_INSTANT)
    except RecurrenceError as error:
        # What a change leaves out is stored with the schedule, and not known here.
        judged = sent if issubclass(model, ScheduleUpdate) else TIMING_FIELDS
        return [of_recurrence(one) for one in error.problems if one.field in judged and one.field not in refused]
    return []
