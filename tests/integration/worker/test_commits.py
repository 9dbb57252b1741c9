"""Commits whose outcome comes later: one that failed is tried again, though nothing more is finished meanwhile."""

from __future__ import annotations

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from shared.events.topics import runs_due
from shared.kafka.consumer import GroupConsumer
from shared.kafka.topics import ensure_topics
from tests.waiting import eventually


def test_a_commit_that_failed_is_made_again(kafka_server: str, topic_prefix: str) -> None:
    topic = runs_due("noop")
    ensure_topics(kafka_server, topic_prefix, [topic], partitions=1, replication=1)
    producer = Producer({"bootstrap.servers": kafka_server})
    for number in range(3):
        producer.produce(topic_prefix + topic.name, str(number))
    producer.flush(10)
    place = TopicPartition(topic_prefix + topic.name, 0)
    told: list[KafkaError | None] = []

    class Told(GroupConsumer):
        def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
            told.append(error)
            super()._on_commit(error, partitions)

    member = Told(kafka_server, topic_prefix, "workers", "one")
    looker = Consumer({"bootstrap.servers": kafka_server, "group.id": f"{topic_prefix}workers"})
    committed = lambda: looker.committed([place], timeout=5)[0].offset  # noqa: E731
    try:
        member.subscribe([topic.name])
        records = eventually(lambda: member.poll(10, 0.2), 30)
        while len(records) < 3:
            records += member.poll(10, 0.2)
        member.finished(records)
        member.commit()
        eventually(lambda: member.poll(10, 0.1) or told, 10, "the outcome is told within poll")
        assert told == [None]
        assert committed() == 3
        member.commit()
        member.poll(10, 1.0)
        assert told == [None], "nothing more was finished: nothing was committed"
        member._on_commit(KafkaError(KafkaError.REBALANCE_IN_PROGRESS), [place])
        member.commit()
        eventually(lambda: member.poll(10, 0.1) or len(told) == 3, 10, "it is made again")
        assert (told[2], committed()) == (None, 3)
    finally:
        member.close()
        looker.close()
