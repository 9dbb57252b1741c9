"""Builds the health service from its settings: the only place that knows every part."""

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Sequence
from datetime import time, timedelta

from prometheus_client import REGISTRY

from services.health.announcing import Announcer, Notify
from services.health.conditions import Conditions
from services.health.consuming import Consuming
from services.health.counting import Counting
from services.health.dead_letters import GROUP, DeadLetterKeeper
from services.health.disabling import Disabler
from services.health.duty import Chore, Duty
from services.health.exposition import ScheduleMetrics
from services.health.intake import KafkaUnavailable
from services.health.monitor import Monitor, StandStill
from services.health.notifying import MailChannel, WebhookChannel
from services.health.recorder import Recorder
from services.health.retention import Periods, Retention
from services.health.settings import Settings
from services.health.watch import TOPICS, Watch
from shared import clock
from shared.artifacts import ArtifactStore
from shared.domain.health import Limits
from shared.events.topics import FIXED
from shared.kafka.consumer import GroupConsumer, Record
from shared.kafka.dead_letters import letter
from shared.kafka.lag import LagReader
from shared.kafka.producer import Producer, QueueFull
from shared.kafka.topics import TopicRefused, TopicsUnavailable, ensure_topics
from shared.process import Process
from shared.storage import monitor as storage_monitor
from shared.storage.database import Database
from shared.storage.pulse import Pulse
from shared.storage.session import Session
from shared.telemetry import logging as telemetry_logging
from shared.telemetry import metrics, tracing
from shared.telemetry.probes import ProbeServer

log = telemetry_logging.get_logger(__name__)

NOISY = ("faust", "mode", "aiokafka", "asyncio", "services.health.transport")
DEAD_LETTER_TIMEOUT = 10.0
RETRY = 1.0


class Service:
    """The whole service. `run` returns its exit code."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        telemetry_logging.configure("health", settings)
        for name in NOISY:
            logging.getLogger(name).setLevel(logging.ERROR)
        self._tracer = tracing.configure("health", settings)
        self._process = Process("health", settings.instance)
        self._conditions = Conditions(
            kafka="not yet asked", consumer="not yet started", reading=None, writing=None, recording=None
        )
        # A stopped replica must not hold the chains' rows for longer than its partitions take to move.
        self._database = Database(
            settings.database_url,
            application="commandcenter-health",
            pool_size=settings.record_lanes + 5,  # two kinds of chores, the pulse, the letters, and one to spare
            transaction_timeout_ms=20_000,
            idle_in_transaction_ms=5_000,
        )
        self._pulse = Pulse(self._database, self._process)
        self._producer = Producer(settings.kafka_bootstrap_servers, settings.topic_prefix, "health")
        for topic in TOPICS:
            metrics.DEAD_LETTERS.labels("health", topic)  # at zero from the start: an alert sees only what rises
        self._disabler = Disabler(self._database)
        recorder = Recorder(
            self._database,
            self._put_aside,
            on_failing=self._disabler.pause,
            traced=settings.otlp_endpoint is not None,
        )
        self._consuming = Consuming(settings, self._process, self._conditions, recorder)
        self._duty = self._build_duty()
        self._keeper = self._build_keeper()

    def run(self) -> int:
        """Serve until told to stop."""
        self._process.install_signals()
        # The recorder's thread comes back from PostgreSQL ten times a batch: at Python's 5 ms it would wait for Faust's
        # thread longer than for the database.
        sys.setswitchinterval(0.0005)
        # Thousands of events in hand are no garbage: looking for some among them costs more than decoding them.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        checks = {"database": self._pulse.lacking, **self._conditions.checks()}
        probes = ProbeServer(self._settings.host, self._settings.health_port, self._process, checks)
        probes.start()
        try:
            self._wait_for_servers()
            if not self._process.stopping.is_set():
                self._pulse.start()
                self._watch().start()
                self._duty.start()
                self._keeper.start()
                asyncio.run(self._consuming.run())
        finally:
            self._keeper.stop(DEAD_LETTER_TIMEOUT / 2)
            self._duty.stop(DEAD_LETTER_TIMEOUT / 2)
            self._producer.flush(DEAD_LETTER_TIMEOUT / 2)
            self._tracer.shutdown()
            self._database.close()
            probes.stop()
        log.info("Health service ended", exit_code=self._process.exit_code)
        sys.stdout.flush()
        # Faust's own threads may outlive a stop that timed out: they must not keep the process.
        os._exit(self._process.exit_code)

    def _wait_for_servers(self) -> None:
        """The tables must be there and the topics must exist before Faust starts; an outage is waited out."""
        while not self._process.stopping.is_set():
            self._pulse.feel()
            kafka = self._lacking_topics()
            self._conditions.say("kafka", kafka)
            if self._pulse.lacking() is None and kafka is None:
                break
            self._process.beat("start", 60)
            self._process.stopping.wait(RETRY)
        self._process.quiet("start")

    def _lacking_topics(self) -> str | None:
        try:
            made = ensure_topics(
                self._settings.kafka_bootstrap_servers,
                self._settings.topic_prefix,
                FIXED,
                partitions=self._settings.topic_partitions,
                replication=self._settings.topic_replication,
                timeout=5.0,
            )
        except TopicsUnavailable as error:
            return f"Kafka does not answer: {error}"
        except TopicRefused as error:
            return f"Kafka refuses a topic: {error}"
        if made:
            log.info("Created %d topics", len(made), topics=" ".join(made))
        return None

    def _build_duty(self) -> Duty:
        settings = self._settings
        session = Session(
            settings.database_url,
            "commandcenter-health-duty",
            statement_timeout_ms=5_000,
            transaction_timeout_ms=10_000,
            idle_in_transaction_ms=5_000,
            user_timeout_ms=5_000,
        )
        reader = LagReader(settings.kafka_bootstrap_servers, settings.topic_prefix, "health-duty")
        limits = Limits(overdue_after=timedelta(seconds=settings.overdue_after_seconds))
        announcer = Announcer(self._database, self._producer, channels_of(settings))
        monitor = Monitor(self._database, limits, announcer, StandStill(reader, self._running).find)
        schedule_metrics = ScheduleMetrics(self._database, settings.metrics_schedule_limit, lambda: self._duty.on_duty)
        REGISTRY.register(schedule_metrics)
        store = ArtifactStore(settings.artifacts)
        retention = Retention(self._database, periods_of(settings), store.expire, self._alive)
        chores = (
            Chore("metrics", schedule_metrics.refresh, every=timedelta(seconds=settings.metrics_interval_seconds)),
            Chore("monitor", monitor.report, every=timedelta(seconds=settings.monitor_interval_seconds)),
            Chore("counts", Counting(self._database).run, every=timedelta(seconds=10)),
            Chore("pause", self._disabler.pause_missed, every=timedelta(minutes=5)),
            Chore("cleanup", self._disabler.cleanup_expired_schedules, daily_at=time(2, 0)),
            Chore("retention", retention.run, daily_at=time(2, 10)),
        )
        return Duty(session, self._database, self._process, chores)

    def _running(self) -> list[tuple[str, int]]:
        with self._database.transaction() as connection:
            return storage_monitor.running(connection)

    def _alive(self) -> None:
        self._duty.alive()

    def _build_keeper(self) -> DeadLetterKeeper:
        settings = self._settings
        consumer = GroupConsumer(settings.kafka_bootstrap_servers, settings.topic_prefix, GROUP, settings.member)
        return DeadLetterKeeper(self._database, consumer, self._process)

    def _watch(self) -> Watch:
        reader = LagReader(self._settings.kafka_bootstrap_servers, self._settings.topic_prefix, "health-watch")
        return Watch(
            reader,
            self._settings.health_group,
            self._process,
            self._conditions,
            patience_seconds=self._settings.stuck_after_seconds,
            mine=self._consuming.assigned,
            excused=lambda: self._consuming.excused() or self._pulse.lacking() is not None,
        )

    def _put_aside(self, dead: Sequence[tuple[Record, str]]) -> None:
        """Send dead letters and wait for Kafka's acknowledgement: only then may their offsets be committed."""
        refused: list[str] = []

        def delivered(error: str | None) -> None:
            if error is not None:
                refused.append(error)

        try:
            for record, reason in dead:
                one = letter(record, reason, "health", clock.now())
                self._producer.send_bytes(one.topic, one.key, one.headers, one.value, delivered)
        except QueueFull as error:
            raise KafkaUnavailable(str(error)) from error
        left = self._producer.flush(DEAD_LETTER_TIMEOUT)
        if left or refused:
            raise KafkaUnavailable(refused[0] if refused else "no acknowledgement")
        for record, reason in dead:
            metrics.DEAD_LETTERS.labels("health", record.topic).inc()
            log.error(
                "Put a message aside that cannot be recorded",
                action="run.dead_lettered",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                reason=reason,
            )


def channels_of(settings: Settings) -> list[Notify]:
    """Where issues are sent besides the topic."""
    channels: list[Notify] = []
    if settings.alerts_webhook_url is not None:
        secret = settings.alerts_webhook_secret
        signing = None if secret is None else secret.get_secret_value()
        channels.append(WebhookChannel(settings.alerts_webhook_url.get_secret_value(), signing))
    if settings.smtp_url is not None and settings.alerts_emails:
        url = settings.smtp_url.get_secret_value()
        channels.append(MailChannel(url, settings.smtp_sender, settings.alerts_emails))
    return channels


def periods_of(settings: Settings) -> Periods:
    """How long things are kept."""
    return Periods(
        jobs=settings.retention_jobs_days,
        audit=settings.retention_audit_days,
        artifacts=settings.retention_artifacts_days,
        rows={
            "run_claims": settings.retention_claims_days,
            "batch_progress": settings.retention_claims_days,
            "webhook_deliveries": settings.retention_deliveries_days,
            "dead_letters": settings.retention_dead_letters_days,
            "dead_letter_resends": settings.retention_dead_letters_days,
            "health_issues": settings.retention_issues_days,
            "health_reports": 7,
        },
    )
