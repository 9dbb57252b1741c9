"""The event loop: starts Faust, commits what is recorded, and ends cleanly. Called by wiring.py on the main thread."""

import asyncio
from typing import Any

import faust

from services.health import app as faust_app
from services.health.conditions import Conditions
from services.health.intake import Intake
from services.health.positions import Positions
from services.health.recorder import Recorder
from services.health.settings import Settings
from services.health.transport import App
from shared.events.topics import SCHEDULES
from shared.process import Process
from shared.telemetry import metrics
from shared.telemetry.logging import get_logger

log = get_logger(__name__)

TURN = 0.1
"""Seconds between two looks at what to commit and whether to stop."""
START_TIMEOUT, STOP_TIMEOUT = 60.0, 5.0


class Consuming:
    """One run of the Faust app."""

    def __init__(
        self,
        settings: Settings,
        process: Process,
        conditions: Conditions,
        recorder: Recorder,
    ) -> None:
        self._settings, self._process, self._conditions = settings, process, conditions
        self._recorder = recorder
        self._positions = Positions(holes_allowed_in=[settings.topic_prefix + SCHEDULES.name])
        self._intake: Intake | None = None
        self._assigned: frozenset[tuple[str, int]] = frozenset()

    def assigned(self) -> frozenset[tuple[str, int]]:
        """The partitions (topic without prefix, partition) this replica has now. Any thread may ask."""
        return self._assigned

    def excused(self) -> bool:
        """Whether no progress is no surprise. Any thread may ask."""
        return self._intake is None or self._intake.excused

    async def run(self) -> None:
        """Consume until the process stops; sets its exit code when Faust gave up."""
        app, topic = faust_app.build(self._settings)
        self._intake = self._build_intake(app)
        self._declare(app, topic, self._intake)
        self._conditions.say("consumer", "joining the consumer group")
        app.finalize()
        try:
            await asyncio.wait_for(app.start(), START_TIMEOUT)
            log.info("Health service consumes its topics", group=app.conf.id)
            await self._turn(app)
        except TimeoutError:
            log.critical("Faust did not start within %s s", START_TIMEOUT)
            self._process.fail()
        finally:
            await self._end(app, self._intake)

    def _build_intake(self, app: faust.App) -> Intake:
        async def seek(topic: str, partition: int, offset: int) -> None:
            await faust_app.seek(app, topic, partition, offset)

        return Intake(
            self._recorder,
            self._positions,
            self._conditions,
            prefix=self._settings.topic_prefix,
            batch_size=self._settings.record_batch_size,
            lanes=self._settings.record_lanes,
            seek=seek,
            process=self._process,
        )

    def _declare(self, app: App, topic: Any, intake: Intake) -> None:
        """The one agent, and what to do when the group divides its partitions anew."""

        @app.agent(topic, name="record", concurrency=1)
        async def record(stream: Any) -> None:
            queue = stream.channel.queue
            app.has_room = lambda: not queue.full()
            try:
                await intake.run(queue)
            except Exception:  # the agent's boundary: Faust would swallow it, restart the agent and lose the batch
                log.exception("The recording agent failed: the process ends and begins anew")
                metrics.FAULTS.labels("health", "agent").inc()
                self._process.fail()
                raise

        async def revoked(*_: Any, **__: Any) -> None:
            self._positions.forget()

        async def assigned(*_: Any, **__: Any) -> None:
            self._conditions.say("consumer", None)

        self._handlers = (revoked, assigned)  # Faust's signals hold their receivers weakly
        app.on_partitions_revoked.connect(revoked)
        app.on_partitions_assigned.connect(assigned)

    async def _turn(self, app: faust.App) -> None:
        loop = asyncio.get_running_loop()
        next_commit = loop.time()
        prefix = self._settings.topic_prefix
        while not self._process.stopping.is_set():
            self._process.beat("consumer", 30)
            if app.should_stop:
                log.error("Faust has stopped by itself: the process ends and begins anew")
                metrics.FAULTS.labels("health", "faust_stopped").inc()
                self._process.fail()
                return
            self._assigned = frozenset(
                (tp.topic.removeprefix(prefix), tp.partition) for tp in app.consumer.assignment()
            )
            if loop.time() >= next_commit:
                await self._commit(app)
                next_commit = loop.time() + self._settings.commit_interval_seconds
            await asyncio.sleep(TURN)

    async def _commit(self, app: faust.App) -> None:
        offsets = self._positions.take_committable()
        if offsets and not await faust_app.commit(app, offsets):
            self._positions.not_committed(offsets)
            metrics.FAULTS.labels("health", "commit").inc()

    async def _end(self, app: faust.App, intake: Intake) -> None:
        """Finish the batch in work, commit it, leave. What hangs is left behind: the process ends anyway."""
        await intake.end(STOP_TIMEOUT)
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                if app.started and not app.should_stop:
                    await self._commit(app)
                await app.stop()
        except TimeoutError:
            log.warning("Faust did not stop in time: the process ends without it")
