"""One replica does the chores for all, and consumers that stand still are noticed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import datetime, time, timedelta

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from services.health import duty
from services.health.duty import Chore, Duty
from services.health.monitor import StandStill
from shared.events.topics import FIXED, runs_due
from shared.kafka import producer as events
from shared.kafka.lag import BrokerUnavailable, LagReader
from shared.kafka.producer import partition_of
from shared.kafka.topics import ensure_topics
from shared.process import Process
from shared.storage.database import Database
from shared.storage.monitor import Finding
from shared.storage.session import Session
from tests.integration.health.support import NOW, Rows
from tests.waiting import eventually


@pytest.fixture
def rows(database_url: str) -> Iterator[Rows]:
    opened = Rows(database_url)
    yield opened
    opened.close()


class Replica:
    """A replica's duty, turned by hand."""

    def __init__(self, url: str, name: str, chores: Sequence[Chore] = ()) -> None:
        self.done: list[datetime] = []
        self.database = Database(url, application=name)
        session = Session(
            url, name, statement_timeout_ms=5000, transaction_timeout_ms=5000, idle_in_transaction_ms=5000,
            user_timeout_ms=5000,
        )  # fmt: skip
        self.chores = [
            Chore("broken", self._break, every=timedelta(0)),
            Chore("slow", self._take_too_long, every=timedelta(0)),
            Chore("count", self.done.append, every=timedelta(0)),
        ]
        self.process = Process("health", name)
        self.duty = Duty(session, self.database, self.process, chores or self.chores)

    def turn(self) -> None:
        if self.duty.hold():
            self.duty.turn(self.chores)

    def _break(self, _now: datetime) -> None:
        raise RuntimeError("this chore is broken")

    def _take_too_long(self, _now: datetime) -> None:
        with self.database.transaction() as connection:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 1; SELECT pg_sleep(1)")


def test_one_replica_at_a_time_and_another_takes_over(rows: Rows, database_url: str) -> None:
    first, second = Replica(database_url, "a"), Replica(database_url, "b")
    first.turn()
    second.turn()
    first.turn()
    assert (len(first.done), len(second.done)) == (
        2,
        0,
    )  # neither what is broken nor what is slow keeps the others back
    assert (first.duty.on_duty, second.duty.on_duty) == (True, False)
    rows("UPDATE leases SET expires_at = now() - interval '1 s' WHERE name = 'health-monitor'")
    second.turn()
    first.turn()
    assert (len(first.done), len(second.done)) == (2, 1)
    assert (first.duty.on_duty, second.duty.on_duty) == (False, True)
    for replica in (first, second):
        replica.database.close()


def test_the_last_run_is_remembered_across_replicas(rows: Rows, database_url: str) -> None:
    first = Replica(database_url, "a")
    first.turn()
    ((stored,),) = rows("SELECT CAST(value AS timestamptz) FROM facts WHERE name = 'chore.count'")
    assert stored == first.done[-1]
    assert rows("SELECT count(*) FROM facts WHERE name = 'chore.broken'") == [(0,)]
    first.database.close()


def test_a_long_chore_keeps_its_lease_and_holds_up_no_frequent_one(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duty, "LEASE_SECONDS", 2.0)
    begun: list[str] = []
    over = threading.Event()

    def chores_of(name: str, often: list[datetime]) -> list[Chore]:
        def long(_now: datetime) -> None:
            begun.append(name)
            over.wait(60)

        return [
            Chore("often", often.append, every=timedelta(milliseconds=100)),
            Chore("long", long, daily_at=time(2, 0)),
        ]

    often: dict[str, list[datetime]] = {"a": [], "b": []}
    replicas = [Replica(database_url, name, chores_of(name, often[name])) for name in often]
    for replica in replicas:
        replica.duty.start()
    eventually(lambda: begun, 10, "one begins the long chore")
    (holder,) = begun
    times = len(often[holder])
    eventually(lambda: len(often[holder]) >= times + 5, 20, "its frequent chores go on, for longer than the lease")
    assert begun == [holder], "nobody else has begun it meanwhile"
    assert [len(done) for name, done in often.items() if name != holder] == [0]
    over.set()
    for replica in replicas:
        replica.process.stopping.set()
        replica.duty.stop(5)
        replica.database.close()


def found_by(stand_still: StandStill) -> list[Finding]:
    found = stand_still.find(NOW)
    assert found is not None, "Kafka answers"
    return found


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
    (found,) = found_by(stand_still)
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
    assert StandStill(reader).find(NOW) is None


def test_a_run_in_progress_is_no_standstill(kafka_server: str, topic_prefix: str) -> None:
    """A worker commits what it has finished: an hour's run holds its partition for an hour, and rightly so."""
    ensure_topics(kafka_server, topic_prefix, [runs_due("analysis")], partitions=3, replication=1)
    producer = events.Producer(kafka_server, topic_prefix, "test")
    for schedule_id in range(1, 10):
        producer.send_bytes("runs.due.analysis", str(schedule_id).encode(), [], b"{}")
    producer.flush(10)
    reader = LagReader(kafka_server, topic_prefix, "test")
    consumer = Consumer({"bootstrap.servers": kafka_server, "group.id": f"{topic_prefix}worker"})
    topic = f"{topic_prefix}runs.due.analysis"
    consumer.commit(offsets=[TopicPartition(topic, partition, 0) for partition in range(3)], asynchronous=False)
    lags = {one.partition: one.lag for one in reader.read("worker")}
    running = [("analysis", 4)]
    own = lags[partition_of("4", 3)]
    stand_still = StandStill(reader, lambda: running)
    assert stand_still.find(NOW) == []
    (found,) = found_by(stand_still)
    assert f"is {9 - own} messages behind" in found.detail, "the other partitions have no such excuse"
    running += [("analysis", schedule_id) for schedule_id in range(1, 10)]
    assert stand_still.find(NOW) == []
    consumer.close()
