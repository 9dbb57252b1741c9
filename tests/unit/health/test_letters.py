"""What health can know about a dead letter, whatever its bytes are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.health.dead_letters import letter_of
from shared.events.envelope import Event, encode
from shared.events.types import Actor, RunSucceeded, ScheduleCreated
from shared.kafka.consumer import Record
from shared.kafka.dead_letters import letter

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RUN = RunSucceeded(
    job_id=9, attempt=1, schedule_id=7, project_id=5, task_type="sync", scheduled_for=NOW, finished_at=NOW
)
CHANGE = ScheduleCreated(schedule_id=7, project_id=5, version=1, actor=Actor(name="x"), before=None, after={})


def put_aside(key: bytes | None, headers: list[tuple[str, bytes | None]], value: bytes | None) -> Record:
    """The record that lies on runs.dead when such a message was put aside."""
    dead = letter(Record("runs.results", 2, 30, key, headers, value), "no good", "health", NOW)
    return Record("runs.dead", 1, 17, dead.key, dead.headers, dead.value)


def test_a_readable_event_tells_all() -> None:
    for data, job_id in ((RUN, 9), (CHANGE, None)):
        message = encode("runs.results", Event("e", "/s", NOW, data, 7, job_id))
        headers: list[tuple[str, bytes | None]] = [(name, raw.encode()) for name, raw in message.headers.items()]
        found = letter_of(put_aside(b"7", headers, (message.value or "").encode()), datetime.now(UTC))
        assert (found.kafka_partition, found.kafka_offset, found.put_aside_at) == (1, 17, NOW)
        assert (found.reason, found.consumer, found.topic) == ("no good", "health", "runs.results")
        assert (found.event_type, found.schedule_id, found.job_id, found.project_id) == (data.TYPE, 7, job_id, 5)
        assert found.headers == headers


def test_an_unreadable_one_tells_by_its_headers_or_its_key() -> None:
    found = letter_of(put_aside(b"12", [("ce_type", b"x"), ("ce_jobid", b"34")], b"{"), NOW)
    assert (found.event_type, found.schedule_id, found.job_id, found.project_id) == ("x", 12, 34, None)
    found = letter_of(put_aside(b"99999999999999999999", [("ce_jobid", b"-1")], None), NOW)
    assert (found.event_type, found.schedule_id, found.job_id) == (None, None, None)


@given(
    key=st.none() | st.binary(max_size=30),
    headers=st.lists(st.tuples(st.text(max_size=20), st.none() | st.binary(max_size=30)), max_size=6),
    value=st.none() | st.binary(max_size=60),
)
def test_any_bytes_are_kept(key: bytes | None, headers: list[tuple[str, Any]], value: bytes | None) -> None:
    ours = [one for one in headers if not one[0].startswith("dead_")]
    found = letter_of(put_aside(key, ours, value), NOW)
    assert (found.key, found.headers, found.value) == (key, ours, value)
    # A letter that came from nowhere of ours, too.
    assert letter_of(Record("runs.dead", 0, 0, key, ours, value), NOW).put_aside_at == NOW
