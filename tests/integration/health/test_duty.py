"""One replica does the chores for all, and consumers that stand still are noticed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from services.health.duty import Chore, Duty
from services.health.monitor import StandStill
from shared.events.topics import FIXED
from shared.kafka.lag import BrokerUnavailable, LagReader
from shared.kafka.topics import ensure_topics
from shared.process import Process
from shared.storage.database import Database
from shared.storage.session import Session
from tests.integration.health.support import NOW, Rows


@pytest.fixture
def rows(database_url: str) -> Iterator[Rows]:
    opened = Rows(database_url)
    yield opened
    opened.close()


class Replica:
    """A replica's duty, turned by hand."""

    def __init__(self, url: str, name: str) -> None:
        self.done: list[datetime] = []
        self.database = Database(url, application=name)
        session = Session(
            url, name, statement_timeout_ms=5000, transaction_timeout_ms=5000, idle_in_transaction_ms=5000,
            user_timeout_ms=5000,
        )  # fmt: skip
        chores = [
            Chore("broken", self._break, every=timedelta(0)),
            Chore("count", self.done.append, every=timedelta(0)),
        ]
        self.duty = Duty(session, self.database, Process("health", name), chores)

    def _break(self, _now: datetime) -> None:
        raise RuntimeError("this chore is broken")


def test_one_replica_at_a_time_and_another_takes_over(rows: Rows, database_url: str) -> None:
    first, second = Replica(database_url, "a"), Replica(database_url, "b")
    first.duty.turn()
    second.duty.turn()
    first.duty.turn()
    assert (len(first.done), len(second.done)) == (2, 0)  # the broken chore keeps nobody from the other
    assert (first.duty.on_duty, second.duty.on_duty) == (True, False)
    rows("UPDATE leases SET expires_at = now() - interval '1 s' WHERE name = 'health-monitor'")
    second.duty.turn()
    first.duty.turn()
    assert (len(first.done), len(second.done)) == (2, 1)
    assert (first.duty.on_duty, second.duty.on_duty) == (False, True)
    for replica in (first, second):
        replica.database.close()


def test_the_last_run_is_remembered_across_replicas(rows: Rows, database_url: str) -> None:
    first = Replica(database_url, "a")
    first.duty.turn()
    ((stored,),) = rows("SELECT CAST(value AS timestamptz) FROM facts WHERE name = 'chore.count'")
    assert stored == first.done[-1]
    assert rows("SELECT count(*) FROM facts WHERE name = 'chore.broken'") == [(0,)]
    first.database.close()


def test_a_group_that_is_behind_and_does_not_move_is_found(kafka_server: str, topic_prefix: str) -> None:
    ensure_topics(kafka_server, topic_prefix, FIXED, partitions=1, replication=1)
    reader = LagReader(kafka_server, topic_prefix, "test")
    producer = Producer({"bootstrap.servers": kafka_server})
    topic = f"{topic_prefix}runs.results"
    for number in range(5):
        producer.produce(topic, str(number))
    producer.flush(10)
    consumer = Consumer({"bootstrap.servers": kafka_server, "group.id": f"{topic_prefix}idler"})

    def commit(offset: int) -> None:
        consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)

    commit(2)
    stand_still = StandStill(reader)
    assert stand_still.find(NOW) == []
    (found,) = stand_still.find(NOW)
    assert (found.subject, found.severity) == ("group idler", "critical")
    assert "3 messages behind" in found.detail
    commit(4)
    assert stand_still.find(NOW) == []  # it moves
    commit(5)
    assert stand_still.find(NOW) == []
    assert stand_still.find(NOW) == []  # it has nothing to do
    assert [(one.committed, one.lag) for one in reader.read("idler")] == [(5, 0)]
    consumer.close()


def test_without_a_broker_nobody_is_accused() -> None:
    reader = LagReader("127.0.0.1:1", "none.", "test", timeout=0.5)
    with pytest.raises(BrokerUnavailable):
        reader.topics()
    assert StandStill(reader).find(NOW) == []
