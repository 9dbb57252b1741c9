"""A body that its model refuses is asked about its timing all the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.api.actions.timing import wrong_timing
from services.api.models.fields import Body
from services.api.models.schedules import Preview, ScheduleCreate, ScheduleExecute, ScheduleUpdate
from shared.domain.schedule import TIMING_FIELDS

WRONG = {"cron_expression": "0 2 * *", "timezone": "Mars/Olympus", "jitter_seconds": -1}
# Samples rather than strategies: Hypothesis takes seconds to prepare those of all texts on a busy machine.
ODD = (None, True, 0, -1, 60, 60.0, 0.5, 10**12, "", "x", "é", "cron", "once", "interval", "UTC", "* * * * *", "skip")
ODD_TOO: tuple[object, ...] = (
    "2026-01-01T00:00:00Z",
    "2026-01-01",
    "x" * 2_000,
    [],
    [1],
    {},
    {"a": None},
    float("inf"),
)
ANYTHING = st.sampled_from([*ODD, *ODD_TOO])


def _fields(model: type[Body], document: object, *refused: str) -> list[str]:
    return sorted(str(one["field"]) for one in wrong_timing(model, document, refused))


@pytest.mark.parametrize("model", [ScheduleCreate, Preview])
def test_timing_is_judged_beside_what_the_model_refuses(model: type[Body]) -> None:
    assert _fields(model, {"name": "", "frequency": "cron", **WRONG}, "name") == sorted(WRONG)
    assert _fields(model, {"frequency": "cron"}, "name") == ["cron_expression"]
    assert _fields(model, {**WRONG, "timezone": 5}, "frequency", "timezone") == ["cron_expression", "jitter_seconds"]


def test_a_change_is_judged_by_what_it_sends() -> None:
    assert _fields(ScheduleUpdate, {"name": "", **WRONG}, "name") == sorted(WRONG)
    assert _fields(ScheduleUpdate, {"name": "", "frequency": "cron"}, "name") == []
    assert _fields(ScheduleUpdate, {"name": "", "frequency": "cron", "cron_expression": None}, "name") == [
        "cron_expression"
    ]
    assert _fields(ScheduleUpdate, {"name": "", "timezone": None}, "name") == []


def test_other_bodies_carry_no_timing() -> None:
    assert wrong_timing(ScheduleExecute, {"timezone": "Mars/Olympus"}, ()) == []
    documents: tuple[object, ...] = (None, [], "text", 5)
    for document in documents:
        assert wrong_timing(ScheduleCreate, document, ["body"]) == []
    assert wrong_timing(None, WRONG, ()) == []


@given(
    st.sampled_from([ScheduleCreate, ScheduleUpdate, Preview]),
    st.dictionaries(st.sampled_from([*sorted(TIMING_FIELDS), "name", "unknown"]), ANYTHING),
)
def test_whatever_is_sent_no_field_is_reported_by_both(model: type[Body], document: dict[str, object]) -> None:
    try:
        model.model_validate(document)
        refused = set()
    except ValidationError as error:
        refused = {str(one["loc"][0]) for one in error.errors()}
    assert not refused & set(_fields(model, document, *refused))
