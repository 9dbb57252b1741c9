"""Builds the worker from its settings, runs it, and takes it down in the right order. The only builder of adapters."""

import gc
from collections.abc import Callable

from services.worker.control import Control
from services.worker.coroutines import disarm_exit
from services.worker.executor import Executor
from services.worker.heartbeat import Heartbeat
from services.worker.incarnation import Incarnation
from services.worker.intake import Intake
from services.worker.registry import BUILT_IN_NAMES, handlers
from services.worker.results import Results
from services.worker.scratch import Scratch
from services.worker.settings import Settings
from services.worker.undertaker import Undertaker
from shared.events.topics import RUNS_CONTROL, runs_due
from shared.kafka.consumer import ConsumerStopped, GroupConsumer, Listener
from shared.kafka.membership import member_of
from shared.kafka.producer import Producer
from shared.kafka.topics import TopicsUnavailable, ensure_topics
from shared.process import Process
from shared.storage import task_types
from shared.storage.database import Database, DatabaseUnavailable
from shared.storage.pulse import Pulse
from shared.telemetry import logging, tracing
from shared.telemetry.logging import get_logger
from shared.telemetry.probes import ProbeServer

log = get_logger(__name__)

GROUP = "worker"
_DRAIN_SECONDS = 5.0
_ANSWER_SECONDS = 1.0


def run(settings: Settings) -> int:
    """Serve until asked to stop; returns the exit code."""
    logging.configure("worker", settings)
    traces = tracing.configure("worker", settings)
    process = Process("worker", settings.instance_name)
    process.install_signals()
    disarm_exit()
    try:
        Worker(settings, process).serve()
    finally:
        traces.shutdown()
    return process.exit_code


class Worker:
    """The parts of one worker."""

    def __init__(self, settings: Settings, process: Process) -> None:
        instance = settings.instance_name
        me = Incarnation.current(instance)
        self._scratch = Scratch.take()  # before the fork server starts, which leaves its socket in there
        known = handlers(settings.task_types)
        # A built-in type that nobody here handles is taken all the same: its jobs fail saying so.
        self._task_types = sorted(settings.task_types or (set(known) | BUILT_IN_NAMES))
        self._known = known
        self._settings = settings
        self._process = process
        self._starting: str | None = "starting"
        self._database = Database(
            settings.database_url, application=f"commandcenter-worker {instance}"[:63], pool_size=7
        )
        self._pulse = Pulse(self._database, process)
        self._producer = Producer(settings.kafka_bootstrap_servers, settings.topic_prefix, instance)
        self._undertaker = Undertaker(self._producer, self._database, instance)
        self._results = Results(self._producer, self._database, process, str(me), instance, self._undertaker.given_up)
        self._executor = Executor(settings, process, known, self._results.begun, self._results.ended)
        self._heartbeat = Heartbeat(settings, process, self._database, self._executor, self._results, me)
        listener = Listener(settings.kafka_bootstrap_servers, settings.topic_prefix, RUNS_CONTROL.name, instance)
        self._control = Control(listener, self._executor, process)
        self._consumer = GroupConsumer(
            settings.kafka_bootstrap_servers,
            settings.topic_prefix,
            GROUP,
            member_of(instance, self._task_types),
        )
        self._intake = Intake(
            settings,
            process,
            self._consumer,
            self._database,
            self._executor,
            self._results,
            self._undertaker,
            known,
            str(me),
        )
        self._consumer.on_lost = self._intake.forget
        self._probes = ProbeServer(settings.host, settings.worker_port, process, {"worker": self._ready})

    def serve(self) -> None:
        """From waiting for the servers to the last commit."""
        self._probes.start()
        for part in (self._pulse, self._undertaker, self._results, self._executor, self._heartbeat):
            part.start()
        if self._prepare():
            self._starting = None
            log.info(f"Worker serves {', '.join(self._task_types)}", action="worker.started")
            # Thousands of runs in hand are no garbage: looking for some among them costs more than handling them. But
            # not too rarely: what handlers leave in circles is freed by nothing else.
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 10, 10)
            try:
                self._intake.run()
            except ConsumerStopped as error:
                log.error(f"Stopping: {error}", action="worker.stopped")  # noqa: TRY400 - the sentence says it all
                self._process.fail()
        self._stop()

    def _prepare(self) -> bool:
        """Wait for PostgreSQL and Kafka; False when asked to stop meanwhile."""
        settings = self._settings
        topics = [runs_due(task_type) for task_type in self._task_types]
        return (
            self._wait_for("PostgreSQL", self._see_tables)
            and self._wait_for("PostgreSQL", self._heartbeat.take_over)
            and self._wait_for("PostgreSQL", self._announce)
            and self._wait_for(
                "Kafka",
                lambda: ensure_topics(
                    settings.kafka_bootstrap_servers,
                    settings.topic_prefix,
                    topics,
                    partitions=settings.topic_partitions,
                    replication=settings.topic_replication,
                ),
            )
            and self._control.start(self._process.stopping.is_set)
            and self._subscribe([topic.name for topic in topics])
        )

    def _see_tables(self) -> None:
        self._pulse.wait(_ANSWER_SECONDS)
        lacking = self._pulse.lacking()
        if lacking is not None:
            raise DatabaseUnavailable(lacking)

    def _announce(self) -> None:
        """Plug-ins register their types: from then on the api accepts schedules of them."""
        plugged_in = [one for name, one in sorted(self._known.items()) if name not in BUILT_IN_NAMES]
        if plugged_in:
            with self._database.transaction() as connection:
                for one in plugged_in:
                    schema = one.parameters.model_json_schema()
                    task_types.announce(connection, one.task_type, schema, one.description or None)

    def _subscribe(self, topics: list[str]) -> bool:
        self._consumer.subscribe(topics)
        return True

    def _wait_for(self, what: str, step: Callable[[], object]) -> bool:
        while not self._process.stopping.is_set():
            try:
                step()
                return True
            except (DatabaseUnavailable, TopicsUnavailable) as error:
                if self._starting != (sentence := f"waiting for {what}: {error}"):
                    log.warning(f"Not ready: {sentence}", action="worker.waiting")
                    self._starting = sentence
                self._process.stopping.wait(0.5)
        return False

    def _ready(self) -> str | None:
        why = self._starting or self._pulse.lacking() or self._intake.ready()
        if why is None and not self._producer.answers(_ANSWER_SECONDS):
            why = "Kafka does not answer"
        return why

    def _stop(self) -> None:
        """Running attempts end first, then their results, then the offsets, then everything else."""
        log.info("Stopping", action="worker.stopping")
        self._executor.stop(self._settings.worker_grace_seconds)
        self._undertaker.close(2.0)
        left = self._results.drain(_DRAIN_SECONDS)
        if left:
            log.error(f"{left} results could not be delivered; their attempts are rescued", action="worker.undelivered")
        self._heartbeat.stop()
        self._control.stop()
        self._intake.close()
        self._producer.flush(2.0)
        self._database.close()
        self._probes.stop()
        self._scratch.remove()
