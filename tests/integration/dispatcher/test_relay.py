"""The way from the outbox to Kafka."""

from __future__ import annotations

import json
import signal
import time
from datetime import UTC, datetime
from typing import Any

from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from shared.domain.job import Trigger
from shared.events.topics import FIXED
from shared.events.types import RunDue
from shared.storage import jobs
from shared.storage.database import Database
from tests.dispatching import Dispatchers, Ledger
from tests.waiting import eventually

ADD = "INSERT INTO outbox (message_count, messages) VALUES (%(count)s, %(messages)s)"


def _add(ledger: Ledger, *messages: dict[str, Any]) -> None:
    ledger.run(ADD, {"count": len(messages), "messages": json.dumps(messages)})


def _change(schedule: int, number: int) -> dict[str, Any]:
    value = json.dumps({"schedule_id": schedule, "number": number})
    return {"topic": "schedules", "key": str(schedule), "headers": {"ce_id": f"c-{number}"}, "value": value}


def test_manual_runs_and_changes_go_out_in_order(ledger: Ledger, dispatchers: Dispatchers, database_url: str) -> None:
    schedule = ledger.schedule(due=None, cron_expression="0 * * * *", task_parameters='{"a": "\\u00fc\\" \\\\"}')
    for number in range(0, 40, 2):
        _add(ledger, _change(schedule, number), _change(schedule, number + 1))
    _add(ledger, {"topic": "schedules", "key": "77", "headers": {}, "value": None})
    dispatcher = dispatchers.start()
    eventually(ledger.outbox_empty, 15)
    events = dispatchers.events("schedules")
    assert [event.data["number"] for event in events if event.key == str(schedule)] == list(range(40))
    assert [event.data for event in events if event.key == "77"] == [None]

    database = Database(database_url, application="test")
    now = datetime.now(UTC)
    with database.transaction() as connection:
        job = jobs.insert_manual(connection, schedule, now, traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    database.close()
    (event,) = eventually(lambda: dispatchers.events("runs.due.health_check"), 5)
    due = RunDue.model_validate(event.data)
    assert (due.job_id, due.trigger, due.scheduled_for) == (job, Trigger.MANUAL, now)
    assert due.task_parameters == {"a": 'ü" \\'}
    assert event.headers["traceparent"].endswith("b" * 16 + "-01")
    assert dispatcher.metric("commandcenter_outbox_messages") <= 1


def test_what_kafka_refuses_is_put_aside_and_ends_its_job(ledger: Ledger, dispatchers: Dispatchers) -> None:
    """Too large for the broker, a name that no topic can bear, and a row that is no list: the others go out."""
    admin = AdminClient({"bootstrap.servers": dispatchers.kafka})
    small = NewTopic(dispatchers.prefix + "runs.due.export", 1, 1, config={"max.message.bytes": "20000"})
    for future in admin.create_topics([small]).values():
        future.result(10)
    text = json.dumps({"text": "x" * 50_000})
    large = ledger.schedule(task_type="export", task_parameters=text, cron_expression="0 * * * *")
    good = [ledger.schedule(task_type="export", cron_expression="0 * * * *") for _ in range(20)]
    _add(ledger, {"topic": "runs.due.No Topic", "key": "5", "headers": {"ce_type": "x"}, "value": "{}"})
    ledger.run(ADD, {"count": 1, "messages": "42"})
    ledger.run(
        ADD, {"count": 1, "messages": '[{"topic": "runs.results", "key": "6", "headers": {"a": 1}, "value": "x"}]'}
    )
    ledger.run(ADD, {"count": 1, "messages": '[{"topic": "runs.results", "key": 6, "headers": {}, "value": {}}]'})
    dispatchers.start()
    eventually(lambda: all(ledger.jobs(one) for one in (large, *good)), 20)
    eventually(ledger.outbox_empty, 30)

    assert {event.key for event in dispatchers.events("runs.due.export")} == {str(one) for one in good}
    dead = dispatchers.events("runs.dead")
    reasons = {event.key: event.headers["dead_reason"] for event in dead}
    assert set(reasons) == {str(large), "5", ""}
    assert "cannot exist" in reasons["5"]
    assert "could not be read" in reasons[""]
    (letter,) = [event for event in dead if event.key == str(large)]
    assert letter.data["task_parameters"] == {"text": "x" * 50_000}
    (job,) = ledger.jobs(large)
    (end,) = dispatchers.events("runs.results")
    assert (end.data["job_id"], end.data["reason"], end.data["will_retry"]) == (job["id"], "dead_lettered", False)
    assert ledger.run("SELECT job_id, ended_at IS NOT NULL FROM run_claims") == [(job["id"], True)]


def test_rows_left_by_an_earlier_leader_are_the_same_events(ledger: Ledger, dispatchers: Dispatchers) -> None:
    """The text in the outbox gives byte for byte what would have been published from memory."""
    schedules = [ledger.schedule(cron_expression="0 * * * *") for _ in range(3)]
    dispatchers.kafka, kafka = "127.0.0.1:1", dispatchers.kafka
    first = dispatchers.start()
    eventually(lambda: all(ledger.jobs(one) for one in schedules), 20)
    eventually(lambda: "Kafka does not take messages" in first.get("/readyz")[1], 20)
    assert first.get("/readyz")[0] == 503
    text = ledger.one("SELECT messages FROM outbox")
    first.signal(signal.SIGKILL)
    dispatchers.kafka = kafka
    dispatchers.start("two")
    eventually(ledger.outbox_empty, 20)
    events = dispatchers.events("runs.due.health_check")
    assert {event.key for event in events} == {str(one) for one in schedules}
    for event in events:
        assert event.headers["traceparent"] in text
        assert event.headers["ce_id"] == f"run-due-{event.data['job_id']}-1"


def test_the_backlog_is_bounded_from_the_first_moment(ledger: Ledger, dispatchers: Dispatchers) -> None:
    """Kafka is away already when the dispatcher starts, and comes back later."""
    schedules = [ledger.schedule(cron_expression="0 * * * *") for _ in range(1_000)]
    dispatchers.kafka, kafka = "127.0.0.1:1", dispatchers.kafka
    bounds = {"COMMANDCENTER_DISPATCHER_BACKLOG": "100", "COMMANDCENTER_DISPATCHER_BATCH": "20"}
    first = dispatchers.start(**bounds)
    stored = "SELECT coalesce(sum(message_count), 0) FROM outbox"
    eventually(lambda: ledger.one(stored) >= 100, 20)
    time.sleep(8)  # Kafka is tried again and again meanwhile
    assert ledger.one(stored) <= 100 + 2 * 20
    first.signal(signal.SIGKILL)
    second = dispatchers.start("two", **bounds)
    time.sleep(8)
    assert ledger.one(stored) <= 100 + 2 * 20, "what an earlier leader left counts, too"
    second.signal(signal.SIGKILL)
    dispatchers.kafka = kafka
    dispatchers.start("three", **bounds)
    eventually(lambda: ledger.one("SELECT count(*) FROM jobs") == len(schedules) and ledger.outbox_empty(), 60)


def test_a_large_text_of_wide_characters_is_put_aside_once(ledger: Ledger, dispatchers: Dispatchers) -> None:
    """Its bytes count: cut by characters, the letter itself would be refused, and its letter, without an end."""
    wide = json.dumps({"schedule_id": 5, "text": "\u6771" * 480_000}, ensure_ascii=False)  # 1.44 MB
    _add(ledger, {"topic": "schedules", "key": "5", "headers": {"ce_id": "c-1"}, "value": wide})
    _add(ledger, {"topic": "runs.dead", "key": "6", "headers": {"dead_reason": "why"}, "value": wide})
    dispatcher = dispatchers.start()
    eventually(lambda: len(dispatchers.events("runs.dead")) == 2 and ledger.outbox_empty(), 30)
    letters = {event.key: event for event in dispatchers.events("runs.dead")}
    assert letters["5"].headers["dead_truncated"] == str(len(wide.encode()))
    assert letters["6"].headers["dead_reason"] == "why"
    assert letters["6"].data is None
    assert dispatcher.log.count("Kafka refuses a message for good") == 2
    assert not dispatchers.events("runs.results")


def test_a_topic_that_cannot_be_made_stops_no_other(ledger: Ledger, dispatchers: Dispatchers) -> None:
    """Its messages wait for it, those of its own row too; more copies are asked for than there are brokers."""
    admin = AdminClient({"bootstrap.servers": dispatchers.kafka})
    names = [topic.name for topic in FIXED] + ["runs.due.export"]
    for future in admin.create_topics([NewTopic(dispatchers.prefix + name, 1, 1) for name in names]).values():
        future.result(10)
    waiting = ledger.schedule(task_type="sync", cron_expression="0 * * * *")
    beside = ledger.schedule(task_type="export", cron_expression="0 * * * *")
    dispatcher = dispatchers.start(COMMANDCENTER_TOPIC_REPLICATION="3")
    eventually(lambda: ledger.jobs(waiting), 20)
    assert len({ledger.jobs(one)[0]["created_at"] for one in (waiting, beside)}) == 1, "one row holds both"
    going = [beside, *(ledger.schedule(task_type="export", cron_expression="0 * * * *") for _ in range(5))]
    ledger.wake()
    for number in range(5):
        _add(ledger, _change(77, number))
    eventually(lambda: len(dispatchers.events("runs.due.export")) == len(going), 20)
    eventually(lambda: len(dispatchers.events("schedules")) == 5, 20)
    eventually(lambda: ledger.one("SELECT count(*) FROM outbox") == 1, 10, "all rows but that one's are removed")
    status, said = dispatcher.get("/readyz")
    assert (status, "runs.due.sync cannot be made" in said) == (200, True)
    assert dispatcher.log.count("Topic runs.due.sync cannot be made") == 1
    for future in admin.create_topics([NewTopic(dispatchers.prefix + "runs.due.sync", 1, 1)]).values():
        future.result(10)
    eventually(ledger.outbox_empty, 10)
    (event,) = dispatchers.events("runs.due.sync")
    assert event.key == str(waiting)
    assert '"topics":"all there"' in dispatcher.get("/readyz")[1]
