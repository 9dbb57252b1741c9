"""One trace a run: from the dispatch or the HTTP request through Kafka to the record, as an OTLP receiver sees it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.http import call
from tests.otlp import ReceivedSpan, SpanReceiver
from tests.servers import TestServers
from tests.stack import Stack
from tests.topics import read_all
from tests.waiting import eventually

pytestmark = pytest.mark.xdist_group("traces")


def settings(test_servers: TestServers, database_url: str, receiver: SpanReceiver, ratio: float) -> dict[str, str]:
    return {
        "COMMANDCENTER_DATABASE_URL": database_url,
        "COMMANDCENTER_MIGRATIONS_DATABASE_URL": test_servers.owner_url(database_url),
        "COMMANDCENTER_KAFKA_BOOTSTRAP_SERVERS": test_servers.kafka(),
        "COMMANDCENTER_TOPIC_PREFIX": f"traces{uuid.uuid4().hex[:8]}.",
        "COMMANDCENTER_OTLP_ENDPOINT": receiver.endpoint,
        "COMMANDCENTER_TRACE_SAMPLE_RATIO": str(ratio),
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }


@pytest.fixture
def receiver() -> Iterator[SpanReceiver]:
    with SpanReceiver() as open_receiver:
        yield open_receiver


def create(stack: Stack, **fields: Any) -> int:
    body = {"project_id": 1, "name": "Traced", "task_type": "health_check", "frequency": "daily", **fields}
    status, schedule = call(f"{stack.api_url}/api/v1/schedules", body)
    assert status == 201, schedule
    return int(schedule["id"])


def due_of(stack: Stack, schedule_id: int) -> Any:
    """The schedule's first run.due message."""
    topic = f"{stack.topic_prefix}runs.due.health_check"
    found = [one for one in read_all(stack.bootstrap_servers, [topic]) if one.key == str(schedule_id)]
    return found[0] if found else None


def way(spans: list[ReceivedSpan], last: str) -> list[tuple[str, str]]:
    """From the root to the one span of that name: (service, name). Every parent has arrived, or this fails."""
    by_id = {span.span_id: span for span in spans}
    named = [one for one in spans if one.name == last]
    assert len(named) == 1
    span = named[0]
    steps = [span]
    while span.parent_id:
        assert span.parent_id in by_id, f"the parent of {span}"
        span = by_id[span.parent_id]
        steps.append(span)
    return [(one.service.removeprefix("commandcenter-"), one.name) for one in reversed(steps)]


def test_a_run_is_one_tree(
    test_servers: TestServers, database_url: str, receiver: SpanReceiver, tmp_path: Path
) -> None:
    with Stack(tmp_path / "home", settings(test_servers, database_url, receiver, 1.0)) as stack:
        scheduled = create(stack, name="Scheduled", frequency="interval", interval_seconds=1)
        due = eventually(lambda: due_of(stack, scheduled), 20, "it was dispatched")
        trace_id = due.headers["traceparent"].split("-")[1]
        recorded = "record run.succeeded"
        assert eventually(lambda: way(receiver.trace(trace_id), recorded), 20, "it is on record") == [
            ("dispatcher", "dispatch health_check"),
            ("worker", "run health_check"),
            ("health", recorded),
        ]
        assert {one.attributes["job_id"] for one in receiver.trace(trace_id)} == {due.headers["ce_jobid"]}
        for service in ("dispatcher", "worker"):
            lines = [line for line in stack.log(service).splitlines() if f"trace_id={trace_id}" in line]
            assert any(f"job_id={due.headers['ce_jobid']}" in line for line in lines), service

        manual = create(stack, name="Manual")
        status, executed = call(f"{stack.api_url}/api/v1/schedules/{manual}/execute", {"force": True})
        assert status == 202, executed
        due = eventually(lambda: due_of(stack, manual), 20, "it was published")
        trace_id = due.headers["traceparent"].split("-")[1]
        steps = eventually(lambda: way(receiver.trace(trace_id), recorded), 20, "it is on record")
        assert [service for service, _ in steps] == ["api", "worker", "health"]
        assert steps[0][1] == "POST /api/v1/schedules/{schedule_id}/execute"

        def creations() -> list[str]:
            found = [one for one in receiver.spans if one.name == "record schedule.created"]
            return [way(receiver.trace(one.trace_id), one.name)[0][0] for one in found]

        eventually(lambda: creations() == ["api", "api"], 10, "so has each change of a schedule")


def test_what_is_not_sampled_is_not_exported_but_carried(
    test_servers: TestServers, database_url: str, receiver: SpanReceiver, tmp_path: Path
) -> None:
    with Stack(tmp_path / "home", settings(test_servers, database_url, receiver, 0.0)) as stack:
        schedule = create(stack, frequency="interval", interval_seconds=1)
        due = eventually(lambda: due_of(stack, schedule), 20, "it was dispatched")
        trace_id = due.headers["traceparent"].split("-")[1]
        assert due.headers["traceparent"].endswith("-00")

        def ends() -> list[Any]:
            seen = read_all(stack.bootstrap_servers, [f"{stack.topic_prefix}runs.results"])
            return [one for one in seen if one.headers["ce_jobid"] == due.headers["ce_jobid"]][1:]

        (end, *_) = eventually(ends, 20, "it ended")
        assert end.headers["traceparent"].split("-")[1] == trace_id
    assert receiver.spans == []
