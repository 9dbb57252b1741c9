"""The planner's short way gives what the rules give the long way; encoding gives what the models say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from services.dispatcher import planning
from services.dispatcher.encoding import decode_row, encode_due
from services.dispatcher.planning import Plan, Planner, recurrence_of
from shared.domain.catchup import CatchupPolicy, catch_up
from shared.domain.recurrence import explain_occurrences, jitter_delay
from shared.events.due import DueRun, RunPolicy, due_message
from shared.events.types import RunDue
from shared.storage.dispatch import Definition, DueTimer
from shared.storage.open_jobs import OpenJob

NOW = datetime(2026, 3, 8, 12, 0, 30, tzinfo=UTC)


def _definition(**fields: Any) -> Definition:
    values: dict[str, Any] = {
        "id": 7, "version": 3, "name": 'a "name" with ü', "task_type": "health_check",
        "task_parameters": '{"a": [1, 2]}', "tags": "{}", "active": True, "frequency": "cron",
        "cron_expression": "*/5 * * * *", "interval_seconds": None,
        "timezone": "UTC", "start_time": None, "end_time": None, "anchor": None, "dst_gap": "shift",
        "dst_overlap": "first", "jitter_seconds": 0, "overlap_policy": "skip", "catchup_policy": "latest",
        "catchup_window_seconds": 86_400, "start_deadline_seconds": None, "queue_timeout_seconds": 86_400,
        "max_attempts": 3, "retry_first_seconds": 30.0, "retry_cap_seconds": 3600.0, "timeout_seconds": 3600,
    }  # fmt: skip
    return Definition(**{**values, **fields})


def _plan(definition: Definition, due: datetime, open_jobs: list[OpenJob] | None = None) -> Plan:
    timer = DueTimer(100, definition.id, 1, due, None, None)
    ids = count(1000)
    return Planner().plan(NOW, [timer], {definition.id: definition}, {definition.id: open_jobs or []}, ids.__next__)


@given(
    st.sampled_from(["30 2 * * *", "30 1 * * *", "0 0 * * *", "*/20 1-3 * * *", "15 */6 * * 0"]),
    st.sampled_from(["America/New_York", "Africa/Cairo", "Australia/Lord_Howe", "Asia/Beirut", "America/Havana"]),
    st.sampled_from(["shift", "skip"]),
    st.sampled_from(["first", "last", "both"]),
    st.integers(0, 364),
)
@settings(max_examples=60)
def test_what_the_preview_shows_is_what_the_dispatcher_claims(
    cron: str, zone: str, gap: str, overlap: str, day: int
) -> None:
    """Claim by claim, each on time, from a day of 2026 on: the instants are the preview's, in its order."""
    definition = _definition(cron_expression=cron, timezone=zone, dst_gap=gap, dst_overlap=overlap)
    after = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)
    shown = [one.scheduled_for for one in explain_occurrences(recurrence_of(definition), after, 12)]
    planner, due, claimed = Planner(), shown[0], []
    for number in range(len(shown)):
        timer = DueTimer(number, definition.id, 1, due, None, None)
        ids = count(1000)
        plan = planner.plan(due, [timer], {definition.id: definition}, {definition.id: []}, ids.__next__)
        claimed += [one.job.scheduled_for for one in plan.due]
        (moved,) = plan.moves
        assert moved.next_run_at is not None
        due = moved.next_run_at
    assert claimed == shown


def _open(job_id: int, *, held: bool = False) -> OpenJob:
    return OpenJob(7, job_id, 1, NOW - timedelta(hours=1), held, 1, "health_check")


@given(
    st.sampled_from(["* * * * *", "*/7 * * * *", "0 3 * * *", "30 2 * * 0"]),
    st.sampled_from(["UTC", "America/New_York", "Asia/Kathmandu"]),
    st.integers(0, 100_000),
    st.sampled_from(list(CatchupPolicy)),
    st.sampled_from([0, 30, 3600, 86_400]),
)
def test_the_short_way_agrees_with_the_rules(
    cron: str, zone: str, late: int, policy: CatchupPolicy, window: int
) -> None:
    definition = _definition(
        cron_expression=cron, timezone=zone, catchup_policy=policy.value, catchup_window_seconds=window,
        overlap_policy="allow",
    )  # fmt: skip
    first = (NOW - timedelta(seconds=late)).replace(second=0)
    plan = _plan(definition, first)
    expected = catch_up(recurrence_of(definition), first, NOW, policy, timedelta(seconds=window))
    assert tuple(due.job.scheduled_for for due in plan.due) == expected.run
    assert [(skip.first, skip.last or skip.first, skip.number or 1) for skip in plan.skips] == [
        (skip.first, skip.last, skip.count) for skip in expected.skips
    ]
    assert [move.next_run_at for move in plan.moves] == [expected.next]
    assert len({due.job.job_id for due in plan.due}) == len(plan.due)


def test_after_an_outage_an_occurrence_is_as_late_as_its_own_jitter_says() -> None:
    """One was missed; the next fell due by its jitter a moment ago, long after its nominal instant."""
    definition = _definition(cron_expression="0 * * * *", jitter_seconds=1800, start_deadline_seconds=60)
    recurrence = recurrence_of(definition)
    missed = datetime(2026, 3, 4, 1, tzinfo=UTC)
    last, following = missed + timedelta(hours=1), missed + timedelta(hours=2)
    delay = jitter_delay(recurrence, definition.id, last, following)
    assert delay > timedelta(seconds=60), "else it shows nothing"
    timer = DueTimer(100, definition.id, 1, missed + timedelta(minutes=3), missed, None)
    now = last + delay + timedelta(seconds=10)
    plan = Planner().plan(now, [timer], {definition.id: definition}, {}, count(1000).__next__)
    assert [(due.job.scheduled_for, due.job.trigger, due.dispatch_at) for due in plan.due] == [
        (last, "schedule", last + delay)
    ]
    assert [(skip.first, skip.reason) for skip in plan.skips] == [(missed, "catchup")]


def test_overlap_of_one_occurrence() -> None:
    due = NOW.replace(second=0)
    running, waiting = [_open(1)], [_open(1), _open(2, held=True)]
    outcomes = {}
    for policy in ("skip", "allow", "buffer_one", "cancel_other"):
        for name, jobs in (("free", []), ("running", running), ("waiting", waiting)):
            plan = _plan(_definition(overlap_policy=policy), due, jobs)
            outcomes[policy, name] = (len(plan.due), len(plan.held), len(plan.skips), len(plan.cancels))
    assert outcomes == {
        ("skip", "free"): (1, 0, 0, 0), ("skip", "running"): (0, 0, 1, 0), ("skip", "waiting"): (0, 0, 1, 0),
        ("allow", "free"): (1, 0, 0, 0), ("allow", "running"): (1, 0, 0, 0), ("allow", "waiting"): (1, 0, 0, 0),
        ("buffer_one", "free"): (1, 0, 0, 0), ("buffer_one", "running"): (0, 1, 0, 0),
        ("buffer_one", "waiting"): (0, 0, 1, 0),
        ("cancel_other", "free"): (1, 0, 0, 0), ("cancel_other", "running"): (0, 1, 0, 1),
        ("cancel_other", "waiting"): (0, 1, 0, 2),
    }  # fmt: skip


def test_one_bad_schedule_does_not_touch_the_others() -> None:
    good, bad = _definition(id=1), _definition(id=2, timezone="Mars/Olympus")
    due = NOW.replace(second=0)
    timers = [DueTimer(10 + one, one, 1, due, None, None) for one in (1, 2, 3)]
    plan = Planner().plan(NOW, timers, {1: good, 2: bad}, {}, count(1000).__next__)
    assert [one.job.schedule_id for one in plan.due] == [1]
    assert {skip.schedule_id: skip.reason for skip in plan.skips} == {2: "unwritable", 3: "unwritable"}
    assert {move.schedule_id for move in plan.moves if move.next_run_at is None} == {2, 3}


def test_what_is_known_is_forgotten_in_time() -> None:
    known = planning.Known(recurrence_of(_definition()))
    for number in range(3 * planning.MOST_INSTANTS):
        instant = NOW + timedelta(minutes=number)
        assert known.following(instant) == known.following(instant)
    assert len(known.next) <= planning.MOST_INSTANTS


@settings(max_examples=50)
@given(
    st.text(),
    st.dictionaries(st.text(), st.integers(-(2**53), 2**53) | st.text() | st.none()),
    st.integers(31, 90) | st.none(),
)
def test_all_three_builders_give_the_same_event(name: str, parameters: dict[str, Any], deadline: int | None) -> None:
    """From memory, from the outbox row, and from the builder that retries and manual runs use."""
    text = orjson.dumps(parameters).decode()
    definition = _definition(name=name, task_parameters=text, start_deadline_seconds=deadline)
    due = NOW.replace(second=0)
    (one,) = _plan(definition, due).due
    (stored,) = encode_due([one], NOW, 2**64)
    (message,) = stored.messages
    assert decode_row(stored.text) == stored.messages
    run = DueRun(
        100,
        1,
        7,
        1,
        "health_check",
        due,
        3,
        name,
        "schedule",
        text,
        "{}",
        RunPolicy(3, 30.0, 3600.0, 3600, deadline),
        due,
    )
    traceparent = dict(message.headers)["traceparent"]
    other = due_message(run, NOW, str(traceparent))
    assert (other.topic, other.key, other.value) == (message.topic, message.key, message.value)
    assert other.headers == dict(message.headers)
    model = RunDue.model_validate(orjson.loads(message.value or ""))
    assert model.task_parameters == parameters
    assert model.schedule_name == name
    assert set(orjson.loads(message.value or "")) == set(RunDue.model_fields)
    assert orjson.loads(model.model_dump_json()) == orjson.loads(message.value or "")
