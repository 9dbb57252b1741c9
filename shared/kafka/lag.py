"""How far consumer groups are behind, asked of the broker by a client of its own.

The health service watches itself and the others with it: a consumer that sits alive but idle after a broker's restart
does not know that it is behind, so it is not the one to ask.

Committed offsets are asked for by a consumer that never joins, not by the admin client: librdkafka's
ListConsumerGroupOffsets ends the whole process by a null pointer when the group's coordinator is just moving or loading
(confluentinc/librdkafka#5040; seen here against a broker that had just started).
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from shared.kafka.complaints import QUIET


class BrokerUnavailable(Exception):
    """Kafka does not answer. Temporary."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One partition of a group: `committed` is the next offset to read, -1 when nothing was ever committed."""

    topic: str
    partition: int
    committed: int
    beginning: int
    end: int

    @property
    def lag(self) -> int:
        """Messages not yet finished."""
        return max(0, self.end - max(self.committed, self.beginning))


def _ignore(_error: KafkaError) -> None:
    """The calls report what went wrong; librdkafka's own line would say it twice."""


class LagReader:
    """Reads offsets of groups. Topic and group names are without prefix."""

    def __init__(self, bootstrap_servers: str, prefix: str, client_id: str, timeout: float = 5.0) -> None:
        self._prefix = prefix
        self._timeout = timeout
        self._configuration: dict[str, Any] = {
            "bootstrap.servers": bootstrap_servers,
            "client.id": client_id,
            "reconnect.backoff.max.ms": 1_000,
            **QUIET,
            "error_cb": _ignore,
        }
        self._admin = AdminClient(self._configuration)
        self._consumers: dict[str, Consumer] = {}

    def topics(self) -> dict[str, int]:
        """Every topic behind our prefix, with its number of partitions. Raises BrokerUnavailable."""
        try:
            found = self._admin.list_topics(timeout=self._timeout).topics
        except KafkaException as error:
            self._admin = AdminClient(self._configuration)
            raise BrokerUnavailable(error.args[0].str()) from error
        return {
            name.removeprefix(self._prefix): len(topic.partitions)
            for name, topic in found.items()
            if name.startswith(self._prefix) and topic.error is None
        }

    def groups(self) -> list[str]:
        """Every consumer group behind our prefix. Raises BrokerUnavailable."""
        try:
            listed = self._admin.list_consumer_groups(request_timeout=self._timeout).result()
        except KafkaException as error:
            raise BrokerUnavailable(error.args[0].str()) from error
        found = sorted(
            group.group_id.removeprefix(self._prefix)
            for group in listed.valid
            if group.group_id.startswith(self._prefix)
        )
        for gone in self._consumers.keys() - set(found):
            self._consumers.pop(gone).close()
        return found

    def read(self, group: str, topics: Collection[str] | None = None) -> list[Standing]:
        """Where a group stands: in these topics, or wherever it has committed. Raises BrokerUnavailable."""
        existing = self.topics()
        wanted = [
            TopicPartition(self._prefix + topic, partition)
            for topic in (existing if topics is None else topics)
            for partition in range(existing.get(topic, 0))
        ]
        if not wanted:
            return []
        try:
            committed = self._committed(group, wanted)
            return self._standings([one for one in committed if topics is not None or one.offset >= 0])
        except KafkaException as error:
            # After a broker's restart an old client may time out for ever (seen with librdkafka 2.16): begin anew.
            self._admin = AdminClient(self._configuration)
            self._consumers.pop(group).close()
            raise BrokerUnavailable(error.args[0].str()) from error

    def _committed(self, group: str, wanted: list[TopicPartition]) -> list[TopicPartition]:
        """Where the group is, asked by a consumer of that name which never joins it."""
        if group not in self._consumers:
            about = {"group.id": self._prefix + group, "enable.auto.commit": False}
            self._consumers[group] = Consumer({**self._configuration, **about})
        committed = self._consumers[group].committed(wanted, timeout=self._timeout)
        for one in committed:
            if one.error is not None:
                raise KafkaException(one.error)
        return committed

    def _standings(self, committed: list[TopicPartition]) -> list[Standing]:
        if not committed:
            return []
        keys = [TopicPartition(one.topic, one.partition) for one in committed]
        latest, earliest = OffsetSpec.latest(), OffsetSpec.earliest()  # type: ignore[no-untyped-call]
        ends = self._admin.list_offsets(dict.fromkeys(keys, latest), request_timeout=self._timeout)
        begins = self._admin.list_offsets(dict.fromkeys(keys, earliest), request_timeout=self._timeout)
        end_of = {(key.topic, key.partition): future.result().offset for key, future in ends.items()}
        begin_of = {(key.topic, key.partition): future.result().offset for key, future in begins.items()}
        return [
            Standing(
                one.topic.removeprefix(self._prefix),
                one.partition,
                one.offset if one.offset >= 0 else -1,
                begin_of[one.topic, one.partition],
                end_of[one.topic, one.partition],
            )
            for one in committed
        ]
