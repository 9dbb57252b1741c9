"""A message nobody can read, all the way: put aside, shown by the API, sent again byte for byte, put aside again."""

from __future__ import annotations

from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from tests.http import call
from tests.stack import Stack
from tests.waiting import eventually

GARBAGE = b"\x00\xff not an event"
HEADERS: list[tuple[str, Any]] = [("ce_type", b"\xfe"), ("a", b"1"), ("a", None)]


def _letters(stack: Stack, number: int) -> list[dict[str, Any]]:
    def found() -> list[dict[str, Any]]:
        status, page = call(f"{stack.api_url}/api/v1/dead-letters?topic=runs.due.health_check")
        assert status == 200
        letters: list[dict[str, Any]] = page["dead_letters"]
        return letters if len(letters) == number else []

    return eventually(found, 30, f"{number} letters")


def _garbage(stack: Stack) -> list[Any]:
    """Every such message in the topic, as it lies there: (key, headers, value)."""
    topic = f"{stack.topic_prefix}runs.due.health_check"
    consumer = Consumer({"bootstrap.servers": stack.bootstrap_servers, "group.id": "letters-reader"})
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, one, OFFSET_BEGINNING) for one in partitions])
        messages = [message for _ in range(5) for message in consumer.consume(100, 1.0)]
    finally:
        consumer.close()
    return [(one.key(), one.headers(), one.value()) for one in messages if one.value() == GARBAGE]


def test_what_nobody_can_read_is_shown_and_sent_again(stack: Stack) -> None:
    body = {"project_id": 1, "name": "Check", "task_type": "health_check", "frequency": "daily"}
    schedule = call(f"{stack.api_url}/api/v1/schedules", body)[1]["id"]
    job = call(f"{stack.api_url}/api/v1/schedules/{schedule}/execute", {"force": True})[1]["job_id"]
    ended = lambda: call(f"{stack.api_url}/api/v1/jobs/{job}")[1]["status"] == "succeeded"  # noqa: E731
    eventually(ended, 30, "the first run, which makes the topic")

    producer = Producer({"bootstrap.servers": stack.bootstrap_servers})
    producer.produce(f"{stack.topic_prefix}runs.due.health_check", GARBAGE, str(schedule).encode(), headers=HEADERS)
    assert producer.flush(10) == 0
    (letter,) = _letters(stack, 1)
    assert (letter["schedule_id"], letter["project_id"], letter["consumer"]) == (schedule, 1, "worker")

    status, said = call(f"{stack.api_url}/api/v1/dead-letters/{letter['id']}/resend", {})
    assert (status, said["topic"]) == (202, "runs.due.health_check")
    again, first = _letters(stack, 2)
    assert first["resent_by"] == "anonymous"
    assert again["resent_at"] is None
    messages = _garbage(stack)
    assert len(messages) == 2
    assert messages[0] == messages[1]
