"""The events that the worker writes without their models fit their models, and so does what the retry policy says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.worker.attempt import (
    Attempt,
    Cancelled,
    Failed,
    Outcome,
    Succeeded,
    failure_of,
    received,
    sent,
    unfit,
    words,
)
from services.worker.results import Results
from services.worker.task import TemporaryError
from shared.domain.job import FailureReason
from shared.events.envelope import decode
from shared.events.types import Artifact, EventData, RunCancelled, RunDue, RunFailed, RunStarted, RunSucceeded
from shared.kafka.consumer import Record

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)
DUE = RunDue(
    job_id=5,
    attempt=2,
    schedule_id=7,
    project_id=1,
    task_type="analysis",
    scheduled_for=NOW,
    schedule_version=1,
    schedule_name="x",
    trigger="schedule",
    task_parameters={},
    dispatched_at=NOW,
    max_attempts=3,
    retry_first_seconds=30,
    retry_cap_seconds=3600,
    timeout_seconds=60,
)
ARTIFACT = Artifact(name="a", media_type="text/plain", size=1, sha256="00")


def _event(outcome: Outcome | None) -> EventData:
    results = Results(None, None, None, "w#1", "w", lambda _attempt, _failure: None)  # type: ignore[arg-type]
    attempt = Attempt(DUE, Record("t", 0, 0, None, [], None), "00-aa-bb-01", None, started_at=NOW)
    if outcome is None:
        fields = {**_identity(), "worker": "w", "started_at": NOW}
        message = results._message(attempt, RunStarted, "id", fields)
    else:
        assert isinstance(outcome, Succeeded | Failed | Cancelled)
        kind, fields = results._end(attempt, outcome, NOW)
        message = results._message(attempt, kind, "id", fields)
    assert message.key == "7"
    assert message.value is not None
    event = decode([(name, value.encode()) for name, value in message.headers.items()], message.value.encode())
    assert (event.job_id, event.schedule_id, event.traceparent) == (5, 7, "00-aa-bb-01")
    named = set(type(event.data).model_fields)
    assert set(orjson.loads(message.value)) == named, "every field of the model, and no other"
    return event.data


def _identity() -> dict[str, object]:
    return DUE.model_dump(include={"job_id", "attempt", "schedule_id", "project_id", "task_type", "scheduled_for"})


def test_every_end_is_what_its_model_says() -> None:
    started = _event(None)
    assert isinstance(started, RunStarted)
    assert started.scheduled_for == NOW
    succeeded = _event(Succeeded({"count": 1, "when": NOW, "what": {1: "a"}}, [ARTIFACT]))
    assert isinstance(succeeded, RunSucceeded)
    assert succeeded.artifacts == [ARTIFACT]
    assert succeeded.result["what"] == {"1": "a"}
    cancelled = _event(Cancelled("replaced"))
    assert isinstance(cancelled, RunCancelled)
    assert cancelled.reason == "replaced"


@pytest.mark.parametrize(("permanent", "after", "least"), [(False, None, 30), (False, 500, 500), (True, None, None)])
def test_failures_carry_the_retry_policys_word(permanent: bool, after: int | None, least: int | None) -> None:
    wait = None if after is None else timedelta(seconds=after)
    failed = _event(Failed("why", FailureReason.TIMEOUT, permanent, wait, {"a": 1}, [ARTIFACT]))
    assert isinstance(failed, RunFailed)
    assert (failed.error, failed.reason, failed.result) == ("why", "timeout", {"a": 1})
    assert failed.will_retry is (least is not None)
    if least is None:
        assert failed.next_attempt_at is None
    else:
        assert failed.next_attempt_at is not None
        assert failed.next_attempt_at - NOW >= timedelta(seconds=least)


@pytest.mark.parametrize(
    "outcome",
    [
        Succeeded({"a": [1, None, "x"]}, [ARTIFACT]),
        Failed("why", "error", True, timedelta(seconds=5), {"b": 1}, [ARTIFACT]),
        Failed("why", "crashed"),
    ],
)
def test_an_outcome_survives_the_way_out_of_a_child_process(outcome: Succeeded | Failed) -> None:
    assert received(sent(outcome)) == outcome


def test_whatever_else_comes_out_of_a_child_process_is_a_failure() -> None:
    wrong_retry = b'{"artifacts": [], "result": null, "error": "x", "reason": "", "permanent": 0, "retry_after": 1e99}'
    pieces = (b"", b"\x80\x04", b"[]", b"{}", b'{"artifacts": 5}', b'{"artifacts": [], "error": "x"}', wrong_retry)
    for data in (*pieces, b'{"artifacts": [], "result": "no object"}'):
        failed = received(data)
        assert isinstance(failed, Failed)
        assert failed.reason == FailureReason.CRASHED


@given(text=st.text(st.characters()), most=st.integers(1, 100))
def test_foreign_words_can_be_carried_by_anything(text: str, most: int) -> None:
    carried = words(text, most)
    assert len(carried) <= most
    carried.encode()
    assert words(carried, most) == carried
    if all(not 0xD800 <= ord(one) < 0xE000 for one in text):
        assert carried == text[:most], "what is text is kept"


def test_a_failure_keeps_its_meaning_when_its_result_cannot_be_carried() -> None:
    error = TemporaryError("busy", retry_after=timedelta(seconds=9), result={"a": "\ud800"})
    failed = failure_of(error, 100)
    assert (failed.permanent, failed.retry_after, failed.result) == (False, timedelta(seconds=9), None)
    assert failed.error.startswith("busy (the result is no JSON")
    kept = TemporaryError("busy", result={"a": 1})
    assert failure_of(kept, 100).result == {"a": 1}


@pytest.mark.parametrize("result", [{"a": float("nan")}, {"when": NOW}, {}])
def test_results_that_json_can_carry(result: dict[str, object]) -> None:
    assert unfit(result, 100) is None
