"""What the monitor sees of Kafka, and tells through it: reports by the real Monitor on real servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka import Producer as Plain

from services.health.announcing import Announcer
from services.health.monitor import Monitor, StandStill
from shared.domain.health import Limits
from shared.events.topics import FIXED
from shared.kafka.lag import LagReader
from shared.kafka.producer import Producer
from shared.kafka.topics import ensure_topics
from shared.storage import issues
from shared.storage.database import Database
from shared.storage.monitor import Finding
from tests.integration.health.support import NOW, Rows
from tests.topics import read_all


@pytest.fixture
def rows(database_url: str) -> Iterator[Rows]:
    opened = Rows(database_url)
    opened("UPDATE leases SET holder = 'd', expires_at = 'infinity' WHERE name = 'dispatcher'")
    yield opened
    opened.close()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    # As short as the service's own compared with how long an absent Kafka takes to be found absent.
    opened = Database(database_url, application="test", idle_in_transaction_ms=500)
    yield opened
    opened.close()


def current(database: Database) -> list[tuple[str, str]]:
    with database.transaction() as connection:
        return [(one.kind, one.severity) for one in issues.current(connection)]


def test_a_stuck_consumer_opens_an_issue_and_resolves_it(
    rows: Rows, database: Database, kafka_server: str, topic_prefix: str
) -> None:
    ensure_topics(kafka_server, topic_prefix, FIXED, partitions=1, replication=1)
    topic = f"{topic_prefix}runs.results"
    plain = Plain({"bootstrap.servers": kafka_server})
    for number in range(5):
        plain.produce(topic, str(number))
    plain.flush(10)
    consumer = Consumer({"bootstrap.servers": kafka_server, "group.id": f"{topic_prefix}idler"})

    def commit(offset: int) -> None:
        consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)

    producer = Producer(kafka_server, topic_prefix, "health")
    stand_still = StandStill(LagReader(kafka_server, topic_prefix, "test"))
    monitor = Monitor(database, Limits(), Announcer(database, producer), stand_still.find)

    commit(2)
    seen = []
    for _ in range(3):
        monitor.report(NOW)
        seen.append(current(database))
    assert seen == [[], [], [("stuck_consumer", "critical")]], "behind at two reports in a row, found by two of them"
    commit(5)
    monitor.report(NOW)
    assert current(database) == [("stuck_consumer", "critical")]
    monitor.report(NOW)
    assert current(database) == []

    told = read_all(kafka_server, [f"{topic_prefix}health.alerts"])
    assert [one.headers["ce_type"] for one in told] == [
        "commandcenter.health.issue.opened.v1",
        "commandcenter.health.issue.resolved.v1",
    ]
    assert {one.data["kind"] for one in told} == {"stuck_consumer"}
    assert told[0].data["detail"] == "consumer group idler is 3 messages behind and does not move: runs.results"
    assert len({one.data["issue_id"] for one in told}) == 1
    consumer.close()


def test_without_kafka_the_schedules_are_judged_all_the_same(rows: Rows, database: Database) -> None:
    rows("UPDATE leases SET expires_at = now() - interval '1 minute' WHERE name = 'dispatcher'")
    producer = Producer("127.0.0.1:1", "none.", "health")
    reader = LagReader("127.0.0.1:1", "none.", "test", timeout=1.0)
    monitor = Monitor(database, Limits(), Announcer(database, producer), StandStill(reader).find)
    monitor.report(NOW)
    monitor.report(NOW)
    assert current(database) == [("no_leader", "critical")]
    with database.transaction() as connection:
        assert len(issues.unannounced(connection)) == 1, "told when Kafka is back"


def test_while_kafka_is_away_nobody_says_that_a_consumer_moves_again(
    rows: Rows, database: Database, kafka_server: str, topic_prefix: str
) -> None:
    rows(
        "INSERT INTO health_issues (kind, subject, severity, detail, since, opened_at)"
        " VALUES ('stuck_consumer', 'group idler', 'critical', 'it is behind', now(), now())"
    )
    ensure_topics(kafka_server, topic_prefix, FIXED, partitions=1, replication=1)
    producer = Producer(kafka_server, topic_prefix, "health")
    answers: list[list[Finding] | None] = [None, None, [], []]
    monitor = Monitor(database, Limits(), Announcer(database, producer), lambda _now: answers.pop(0))
    seen = []
    for _ in range(4):
        monitor.report(NOW)
        seen.append(current(database))
    still = [("stuck_consumer", "critical")]
    assert seen == [still, still, still, []]
