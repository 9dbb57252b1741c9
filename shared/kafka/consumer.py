"""Consumers of a group: records handed out in batches, offsets committed only up to what is finished.

The worker uses it for the due runs. A record is *handed out* by `poll` and later reported by `finished`, in any order;
`commit` then moves each partition up to its first unfinished record, so that a crash redelivers what was open.
Every method belongs to the thread that polls: librdkafka runs the rebalance callbacks inside `poll` and `close`.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from logging import getLogger
from typing import cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from shared.kafka.complaints import QUIET, Complaints

log = getLogger(__name__)

SESSION_TIMEOUT_MS = 10_000
"""A worker that is gone for good gives up its partitions after this; one that restarts under its name, at once."""


class ConsumerStopped(Exception):
    """The consumer cannot go on: another process took its name, or librdkafka gave up. Permanent for this process."""


@dataclass(slots=True, eq=False)
class Record:
    """One message as it lies in Kafka; `topic` is without prefix. Not frozen: that would double its cost."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    headers: list[tuple[str, bytes | None]]
    value: bytes | None


class Progress:
    """How far one partition is finished. Offsets come in order, with gaps where compaction left some."""

    __slots__ = ("_done", "_last", "_open", "committed", "position")

    def __init__(self) -> None:
        self._last = -1
        self._open: deque[int] = deque()
        self._done: set[int] = set()
        self.position: int | None = None
        """The offset to commit: everything below it is finished. None before anything was."""
        self.committed: int | None = None

    def hand_out(self, offset: int) -> bool:
        """Note a record as given to the caller; False when it was given before (fetched twice around a pause)."""
        if offset <= self._last:
            return False
        self._last = offset
        self._open.append(offset)
        return True

    def finished(self, offset: int) -> None:
        """A record is done. One that was never handed out here (an earlier assignment's) changes nothing."""
        if not self._open or not self._open[0] <= offset <= self._last:
            return
        self._done.add(offset)
        while self._open and self._open[0] in self._done:
            first = self._open.popleft()
            self._done.discard(first)
            self.position = first + 1


class GroupConsumer:
    """A member of a consumer group under a fixed name.

    Static membership (`group.instance.id`): a killed worker that comes back under its name gets its partitions back at
    once, without a rebalance. Cooperative assignment: a worker that joins or leaves does not stop the others.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        prefix: str,
        group: str,
        instance: str,
    ) -> None:
        """`group` is without prefix."""
        self._prefix = prefix
        self.on_lost: Callable[[str, int], None] = lambda _topic, _partition: None
        """Called with (topic, partition) when it goes away: forget its unfinished records."""
        self._progress: dict[tuple[str, int], Progress] = {}
        self._paused: set[str] = set()
        self._stopped: str | None = None
        self._complaints = Complaints(log, "consumer")
        self.assigned_once = False
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                **QUIET,
                "group.id": f"{prefix}{group}",
                "group.instance.id": instance,
                "client.id": instance,
                "session.timeout.ms": SESSION_TIMEOUT_MS,
                "heartbeat.interval.ms": 2_000,
                "max.poll.interval.ms": 60_000,
                "partition.assignment.strategy": "cooperative-sticky",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "allow.auto.create.topics": False,
                # Bounded memory: what waits here cannot be counted by anyone.
                "queued.min.messages": 10_000,
                "queued.max.messages.kbytes": 32_768,
                "topic.metadata.refresh.interval.ms": 10_000,
                "reconnect.backoff.max.ms": 1_000,
                "fetch.error.backoff.ms": 100,
                "error_cb": self._on_error,
                "on_commit": self._on_commit,
            }
        )

    def subscribe(self, topics: Sequence[str]) -> None:
        """Join the group for these topics (without prefix)."""
        self._consumer.subscribe(
            [self._prefix + topic for topic in topics],
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._lost,
        )

    def poll(self, limit: int, seconds: float) -> list[Record]:
        """Up to `limit` records, waiting at most so long for the first. Raises ConsumerStopped."""
        records: list[Record] = []
        # consume() waits until it has all it may return: so wait for one, then take what else is there.
        messages = self._consumer.consume(1, seconds)
        for message in messages + self._consumer.consume(limit - 1, 0) if messages else ():
            error = message.error()
            if error is not None:
                self._on_error(error)
                continue
            record = record_of(message, (message.topic() or "").removeprefix(self._prefix))
            progress = self._progress.get((record.topic, record.partition))
            # No progress: fetched before the partition went away.
            if progress is not None and progress.hand_out(record.offset):
                records.append(record)
        if self._stopped is not None:
            raise ConsumerStopped(self._stopped)
        return records

    def finished(self, records: Iterable[Record]) -> None:
        """These are done and need not come again."""
        for record in records:
            progress = self._progress.get((record.topic, record.partition))
            if progress is not None:
                progress.finished(record.offset)

    def commit(self, *, wait: bool = False) -> None:
        """Commit what is finished. Without `wait` a failure is only logged: the next commit covers it."""
        offsets = self._to_commit(self._progress)
        if not offsets:
            return
        try:
            if wait:
                self._consumer.commit(offsets=offsets, asynchronous=False)
            else:
                self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            log.warning("Offsets could not be committed, their records may come again: %s", error)

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """The outcome of a commit, served by `poll`. One that failed (in a rebalance, say) is tried with the next.

        It would not be by itself: where nothing more is finished, nothing more is committed.
        """
        for partition in partitions:
            failure = error or partition.error
            progress = self._progress.get(self._keys([partition])[0])
            if progress is not None and failure is not None:
                progress.committed = None
                log.warning("An offset could not be committed, it is tried again: %s", failure)

    def pause(self, topic: str) -> None:
        """Fetch nothing more of this topic; the membership stays."""
        if topic not in self._paused:
            self._paused.add(topic)
            self._consumer.pause(self._partitions_of({topic}))

    def resume(self, topic: str) -> None:
        """Fetch it again."""
        if topic in self._paused:
            self._paused.discard(topic)
            self._consumer.resume(self._partitions_of({topic}))

    def lag(self) -> dict[str, int]:
        """Messages not yet handed out, by topic, as far as the last fetch has told."""
        lags: dict[str, int] = {}
        for position in self._consumer.position(self._partitions_of(None)):
            _low, high = self._consumer.get_watermark_offsets(position, cached=True)
            if position.offset >= 0 and high >= 0:
                topic = position.topic.removeprefix(self._prefix)
                lags[topic] = lags.get(topic, 0) + max(0, high - position.offset)
        return lags

    def close(self) -> None:
        """Commit what is finished and end. Being a static member, its partitions wait for it for the session's time."""
        self.commit(wait=True)
        self._consumer.close()

    def _partitions_of(self, topics: set[str] | None) -> list[TopicPartition]:
        return [
            TopicPartition(self._prefix + topic, partition)
            for topic, partition in self._progress
            if topics is None or topic in topics
        ]

    def _to_commit(self, progress: Iterable[tuple[str, int]]) -> list[TopicPartition]:
        offsets = []
        for key in progress:
            one = self._progress.get(key)
            if one is not None and one.position is not None and one.position != one.committed:
                one.committed = one.position
                offsets.append(TopicPartition(self._prefix + key[0], key[1], one.position))
        return offsets

    def _keys(self, partitions: list[TopicPartition]) -> list[tuple[str, int]]:
        return [(partition.topic.removeprefix(self._prefix), partition.partition) for partition in partitions]

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_assign(partitions)
        self.assigned_once = True
        for key in self._keys(partitions):
            self._progress[key] = Progress()
        held = [one for one, key in zip(partitions, self._keys(partitions), strict=True) if key[0] in self._paused]
        if held:
            consumer.pause(held)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        keys = self._keys(partitions)
        offsets = self._to_commit(keys)
        if offsets:
            try:
                consumer.commit(offsets=offsets, asynchronous=False)
            except KafkaException as error:
                log.warning("Offsets could not be committed before a rebalance, their records come again: %s", error)
        self._forget(keys)
        consumer.incremental_unassign(partitions)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._forget(self._keys(partitions))
        consumer.incremental_unassign(partitions)

    def _forget(self, keys: list[tuple[str, int]]) -> None:
        for key in keys:
            self._progress.pop(key, None)
            self.on_lost(*key)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError.FENCED_INSTANCE_ID or "group.instance.id" in error.str():
            self._stopped = (
                "another process has joined under this worker's name: give each its own COMMANDCENTER_INSTANCE"
            )
        elif error.fatal() or error.code() == KafkaError._FATAL:
            self._stopped = f"Kafka's client has given up: {error.str()}"
        elif error.code() != KafkaError._MAX_POLL_EXCEEDED:
            self._complaints.say(error.str())


class Listener:
    """Reads every partition of one topic from now on, outside any group: each process sees every message."""

    def __init__(self, bootstrap_servers: str, prefix: str, topic: str, instance: str) -> None:
        """`topic` without prefix. Connects in `start`."""
        self._topic = prefix + topic
        self._name = topic
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                **QUIET,
                "group.id": f"{prefix}listener-{instance}",  # required by the client, never joined and never committed
                "client.id": instance,
                "enable.auto.commit": False,
                "auto.offset.reset": "latest",
                "allow.auto.create.topics": False,
                "reconnect.backoff.max.ms": 1_000,
                "fetch.error.backoff.ms": 100,
                "error_cb": lambda _error: None,  # the group's consumer in the same process reports the same outage
            }
        )

    def start(self, timeout: float = 5.0) -> bool:
        """Fix the positions: all that is sent after this returns True will be seen. False: Kafka did not answer."""
        try:
            topics = self._consumer.list_topics(self._topic, timeout=timeout).topics
            found = topics.get(self._topic)
            if found is None or not found.partitions:
                return False
            positions = []
            for partition in found.partitions:
                _low, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), timeout)
                positions.append(TopicPartition(self._topic, partition, high))
        except KafkaException:
            return False
        self._consumer.assign(positions)
        return True

    def poll(self, seconds: float) -> list[Record]:
        """What has come, waiting at most so long."""
        messages = self._consumer.consume(1, seconds)
        return [record_of(message, self._name) for message in messages if message.error() is None]

    def close(self) -> None:
        """End."""
        self._consumer.close()


def record_of(message: Message, topic: str) -> Record:
    """A message as a record; `topic` is its topic's name without prefix."""
    return Record(
        topic,
        message.partition() or 0,
        message.offset() or 0,
        message.key(),
        cast("list[tuple[str, bytes | None]]", message.headers() or []),  # of a message that came, that is their type
        message.value(),
    )
