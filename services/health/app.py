"""The Faust app: which topics, which settings, and what of Faust is not used because it cannot be trusted.

No web server, no tables, no leader topic; Faust's acks are off and offsets are committed by `commit` below; the agent
runs once (concurrency 1); nothing is pickled, keys and values stay bytes; no topic is declared by Faust. Short sessions
move a killed replica's partitions within seconds; a fixed member name gives them back at once when it restarts.
"""

import asyncio
from typing import Any

import faust
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError  # type: ignore[import-untyped]
from aiokafka.structs import OffsetAndMetadata, TopicPartition  # type: ignore[import-untyped]

from services.health.positions import Partition
from services.health.settings import Settings
from services.health.transport import App, Untouched
from services.health.watch import TOPICS
from shared.kafka.membership import member_of

# Faust pauses fetching at four fifths of the buffer, and then looks again only after a second: the buffer must hold
# more than a second's work, or the recorder idles.
BUFFER = 20_000
COMMIT_TIMEOUT = 10.0


def build(settings: Settings) -> tuple[App, Any]:
    """The app and its topics. Must be called inside the running event loop."""
    session = settings.health_session_seconds
    settings.home.mkdir(parents=True, exist_ok=True)  # Faust makes its folder, not the ones above it
    app = App(
        settings.topic_prefix + settings.health_group,
        broker=";".join(f"kafka://{server.strip()}" for server in settings.kafka_bootstrap_servers.split(",")),
        store="memory://",
        datadir=settings.home / "faust",  # empty folders, which Faust makes; by default beside the code, or read-only
        web_enabled=False,
        autodiscover=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        table_standby_replicas=0,
        key_serializer="raw",
        value_serializer="raw",
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=member_of(settings.member, TOPICS),
        broker_session_timeout=session,
        broker_heartbeat_interval=session / 4,
        broker_rebalance_timeout=10.0,
        broker_request_timeout=15.0,
        broker_commit_interval=settings.commit_interval_seconds,
        # A full buffer (PostgreSQL away) must not cost the membership; the heartbeat and the watch judge us instead.
        broker_max_poll_interval=86_400.0,
        broker_max_poll_records=2_000,
        stream_buffer_maxsize=BUFFER,
        stream_wait_empty=False,
        consumer_metadata_max_age_ms=30_000,
    )
    # Asked before every message: it counts what waits to be produced, through Faust's settings. Nothing ever does.
    app.producer.buffer.wait_until_ebb = _nothing_waits  # type: ignore[method-assign]
    names = [settings.topic_prefix + name for name in TOPICS]
    topic = app.topic(*names, schema=Untouched(key_serializer="raw", value_serializer="raw"), acks=False)
    return app, topic


async def _nothing_waits() -> None:
    return


async def commit(app: faust.App, offsets: dict[Partition, int]) -> bool:
    """Commit these offsets (the next to read); False when Kafka did not take them: they come again."""
    thread = app.consumer._thread  # type: ignore[attr-defined]  # Faust keeps aiokafka in a thread of its own
    consumer = thread._ensure_consumer()

    async def inside() -> bool:
        mine = consumer.assignment()
        to_commit = {
            TopicPartition(topic, partition): OffsetAndMetadata(offset, "")
            for (topic, partition), offset in offsets.items()
            if TopicPartition(topic, partition) in mine
        }
        if to_commit:
            await consumer.commit(to_commit)
        return True

    try:
        return bool(await asyncio.wait_for(thread.call_thread(inside), COMMIT_TIMEOUT))
    except (CommitFailedError, IllegalStateError):
        return True  # the partitions went elsewhere; whoever has them commits
    except (KafkaError, TimeoutError):
        return False


async def seek(app: faust.App, topic: str, partition: int, offset: int) -> None:
    """Read a partition again from an offset."""
    await app.consumer.seek(faust.types.TP(topic, partition), offset)
