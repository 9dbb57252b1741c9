"""Builds the dispatcher: connections, threads, probes; runs it until it is told to stop."""

import gc
import threading
from collections.abc import Sequence

from services.dispatcher import letters
from services.dispatcher.backlog import Backlog
from services.dispatcher.claimer import Claimer
from services.dispatcher.encoding import encode
from services.dispatcher.floor import Floor, Survey
from services.dispatcher.in_hand import InHand
from services.dispatcher.leadership import Leadership
from services.dispatcher.planning import Planner
from services.dispatcher.relay import Relay
from services.dispatcher.rescue import Rescue
from services.dispatcher.settings import Settings
from services.dispatcher.summary import Summary
from services.dispatcher.tick import Tick
from shared.domain.recurrence import tzdb_version
from shared.events.envelope import Message
from shared.events.topics import Topic
from shared.kafka.publisher import Publisher
from shared.kafka.topics import ensure_topics
from shared.process import Process
from shared.storage import dispatch
from shared.storage.listen import Listener
from shared.storage.outbox import DUE_CHANNEL, LOST_CHANNEL, OUTBOX_CHANNEL
from shared.storage.session import Session
from shared.telemetry import logging, metrics, tracing
from shared.telemetry.probes import ProbeServer

log = logging.get_logger(__name__)

TOPICS_SECONDS = 3.0
FLUSH_SECONDS = 0.25
"""A graceful stop waits so long for Kafka's acknowledgements before the lease is handed over."""


class Dispatcher:
    """One dispatcher process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.process = Process("dispatcher", settings.instance)
        lease = settings.dispatcher_lease_seconds
        self.leadership = Leadership(self._session("leadership", int(lease * 2_000)), self.process, lease)
        in_hand = InHand(settings.dispatcher_backlog)
        self.relay = Relay(
            # Losing a removal in a crash only repeats an event: no need to wait for the disk.
            self._session("relay", 10_000, synchronous_commit="off"),
            self.leadership,
            self.process,
            in_hand,
            make_publisher=self._publisher,
            ensure=self._ensure_topics,
            poll_seconds=settings.dispatcher_poll_seconds,
        )
        # A stopped leader's transaction must be over before a standby's take-over would be late.
        claiming = int(lease * 900)
        floor = self._floor = Floor()
        backlog, planner = Backlog(floor), Planner()
        summary = Summary(traced=settings.otlp_endpoint is not None)
        first, second = (
            Claimer(
                self._session(name, claiming, idle=int(lease * 600)),
                self.leadership,
                in_hand,
                backlog,
                summary,
                planner,
                batch=settings.dispatcher_batch,
                sampled_below=int(settings.trace_sample_ratio * 2**64),
            )
            for name in ("tick", "tick-2")
        )
        self.tick = Tick(
            (first, second),
            self.leadership,
            in_hand,
            self.process,
            backlog=backlog,
            summary=summary,
            poll_seconds=settings.dispatcher_poll_seconds,
        )
        self.rescue = Rescue(
            self._session("rescue", claiming, idle=int(lease * 600)),
            self.leadership,
            self.process,
            store=_store,
            committed=in_hand.wake,
            poll_seconds=settings.dispatcher_poll_seconds,
            patience_seconds=settings.dispatcher_patience_seconds,
            survey=Survey(floor, self.tick.wake),
        )
        self.tick.on_held.append(self.rescue.woken)
        self.leadership.on_change(in_hand.poke)
        self.leadership.on_change(floor.forget)
        self.listener = Listener(
            self._session("listen", 5_000),
            {
                DUE_CHANNEL: self.tick.told,
                OUTBOX_CHANNEL: lambda _: in_hand.wake(),
                LOST_CHANNEL: lambda _: self.rescue.woken.set(),
            },
        )
        self.probes = ProbeServer(
            settings.host,
            settings.dispatcher_port,
            self.process,
            {
                "postgres": self.leadership.database,
                "kafka": lambda: self.relay.kafka.sentence if self.leadership.epoch() is not None else None,
                "partitions": lambda: self.rescue.partitions,
            },
            {"leader": self.leadership.describe, "topics": self.relay.describe_topics},
        )

    def run(self) -> int:
        """Serve until stopped; returns the exit code."""
        self.process.install_signals()
        threading.excepthook = self._on_crash
        self.probes.start()
        metrics.TZDB_INFO.labels(tzdb_version()).set(1)
        for consumer, reason in ((letters.CONSUMER, "given_up"), ("relay", "refused")):
            metrics.DEAD_LETTERS.labels(consumer, reason)  # at zero from the start: an alert sees only what rises
        log.info("The dispatcher starts", action="process.started", port=self.probes.port, tz_database=tzdb_version())
        listening = threading.Thread(target=self.listener.run, args=(self._listening_lost,), name="listen", daemon=True)
        # What was imported stays: the collector need not look at it on every pass while ticks run.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        for part in (self.leadership, self.relay, self.tick, self.rescue):
            part.start()
        listening.start()
        self.process.stopping.wait()
        log.info("The dispatcher stops", action="process.stopping")
        self.tick.stop()
        self.relay.stop(FLUSH_SECONDS)
        self.leadership.stop()
        self.rescue.stop()
        self.listener.close()
        listening.join(5)
        self.probes.stop()
        return self.process.exit_code

    def _on_crash(self, crash: threading.ExceptHookArgs) -> None:
        """A thread met what nobody foresaw: say it and let the supervisor start a fresh process."""
        name = crash.thread.name if crash.thread else "unknown"
        log.error(
            "The %s thread crashed: %s", name, crash.exc_value, exc_info=crash.exc_value, action="process.crashed"
        )
        self.process.fail()

    def _listening_lost(self, sentence: str) -> None:
        log.warning("Notifications are interrupted, looking every second instead: %s", sentence, action="listen.lost")
        self._floor.trust(hears=False)

    def _session(
        self, part: str, timeout_ms: int, *, idle: int | None = None, synchronous_commit: str = "on"
    ) -> Session:
        return Session(
            self.settings.database_url,
            f"dispatcher-{part}",
            statement_timeout_ms=timeout_ms,
            transaction_timeout_ms=timeout_ms,
            idle_in_transaction_ms=idle or timeout_ms,
            user_timeout_ms=2_000,
            settings={"synchronous_commit": synchronous_commit, **dispatch.PINNED},
        )

    def _publisher(self) -> Publisher:
        settings = self.settings
        return Publisher(settings.kafka_bootstrap_servers, settings.topic_prefix, f"dispatcher-{self.process.instance}")

    def _ensure_topics(self, topics: Sequence[Topic]) -> None:
        settings = self.settings
        made = ensure_topics(
            settings.kafka_bootstrap_servers,
            settings.topic_prefix,
            topics,
            partitions=settings.topic_partitions,
            replication=settings.topic_replication,
            timeout=TOPICS_SECONDS,
        )
        if made:
            log.info("Created topics %s", ", ".join(made), action="topics.created")


def _store(session: Session, messages: Sequence[Message]) -> None:
    stored = encode(messages)
    dispatch.store_messages(session, len(stored.messages), stored.text)


def run(settings: Settings) -> int:
    """Configure the process and run it."""
    logging.configure("dispatcher", settings)
    provider = tracing.configure("dispatcher", settings)
    try:
        return Dispatcher(settings).run()
    finally:
        provider.shutdown()
