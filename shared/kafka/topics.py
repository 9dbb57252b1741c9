"""Creates the topics of the registry (shared/events/topics.py) at the broker, and missing ones on demand."""

from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from shared.events.topics import Topic
from shared.kafka.complaints import QUIET


class TopicsUnavailable(Exception):
    """The broker could not be asked or did not create a topic. Temporary."""


class TopicNotMade(TopicsUnavailable):
    """The broker is there and did not make this one topic (no permission, too few brokers). Temporary: it may yet."""


class TopicRefused(Exception):
    """The broker refuses this topic for good (its name, its settings). Permanent."""


_PERMANENT = frozenset({KafkaError.TOPIC_EXCEPTION, KafkaError.INVALID_CONFIG, KafkaError.POLICY_VIOLATION})


def ensure_topics(
    bootstrap_servers: str,
    prefix: str,
    topics: Iterable[Topic],
    *,
    partitions: int,
    replication: int,
    timeout: float = 10.0,
) -> list[str]:
    """Create what is missing, leave the rest alone; returns the names made (with prefix). Idempotent and race-safe."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, **QUIET, "error_cb": _ignore})  # type: ignore[dict-item]
    try:
        existing = admin.list_topics(timeout=timeout).topics
        wanted = [
            NewTopic(
                prefix + topic.name,
                num_partitions=topic.partitions or partitions,
                replication_factor=replication,
                config=topic.settings(),
            )
            for topic in topics
            if prefix + topic.name not in existing
        ]
        if not wanted:
            return []
        futures = admin.create_topics(wanted, operation_timeout=timeout, request_timeout=timeout)
    except KafkaException as error:
        raise TopicsUnavailable(error.args[0].str()) from error
    made = []
    for name, future in futures.items():
        try:
            future.result(timeout)
        except KafkaException as error:
            cause = error.args[0]
            if cause.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                continue
            if cause.code() in _PERMANENT:
                raise TopicRefused(f"{name}: {cause.str()}") from error
            raise TopicNotMade(f"{name}: {cause.str()}") from error
        except TimeoutError as error:
            raise TopicsUnavailable(f"{name}: the broker did not answer within {timeout:g} s") from error
        made.append(name)
    return made


def _ignore(_error: KafkaError) -> None:
    """The calls above report what went wrong; librdkafka's own log line would say it twice."""
