"""From the Faust stream into the recorder, in batches, without losing any; and from there back to Kafka's offsets.

The agent (consuming.py) runs `Intake.run` on its stream's queue. Taking from it spares Faust's per-event machinery
and its acknowledgements, which this service cannot use (positions.py says why).
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from services.health.conditions import Conditions
from services.health.positions import Positions
from services.health.recorder import Reading, Recorder, TooManyDead
from shared.kafka.consumer import Record
from shared.process import Process
from shared.storage.database import DatabaseUnavailable
from shared.telemetry import metrics
from shared.telemetry.logging import get_logger

log = get_logger(__name__)

FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0
"""Seconds between two tries of the same batch."""
_BATCH_SECONDS = 120.0
"""A try that takes longer hangs."""
Batch = tuple[list[Record], Reading]


class KafkaUnavailable(Exception):
    """Kafka does not acknowledge. Temporary."""


class EventQueue(Protocol):
    """What is used of Faust's queue."""

    async def get(self) -> Any:
        """Wait for an event."""

    def get_nowait(self) -> Any:
        """The next event."""

    def empty(self) -> bool:
        """Whether none waits."""


class Intake:
    """Takes events, has them recorded, remembers how far each partition is.

    One task collects and decodes the next batches while the lanes have PostgreSQL take the last ones. A partition keeps
    its lane, so its events are recorded in their order; and since a chain of the audit log and a schedule's events
    belong to one partition, lanes do not wait for each other's rows.
    """

    def __init__(
        self,
        recorder: Recorder,
        positions: Positions,
        conditions: Conditions,
        *,
        prefix: str,
        batch_size: int,
        lanes: int,
        seek: Callable[[str, int, int], Awaitable[None]],
        process: Process,
    ) -> None:
        """`seek(topic, partition, offset)` makes the consumer read from there again."""
        self._recorder = recorder
        self._positions = positions
        self._conditions = conditions
        self._prefix = prefix
        self._batch_size = batch_size
        self._seek = seek
        self._process = process
        self._lanes = lanes
        self._lane_of: dict[int, int] = {}
        self._pool = ThreadPoolExecutor(lanes, "recorder")
        self._ending = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._busy = 0
        self._lacking: dict[int, str] = {}
        self._stopped = False

    @property
    def excused(self) -> bool:
        """Whether it waits for a server or has stopped for good: no progress is no surprise. Any thread may ask."""
        return bool(self._lacking) or self._stopped

    async def run(self, queue: EventQueue) -> None:
        """Take and record until the task is cancelled or the stream ends, which it does only when the service does."""
        lanes: list[asyncio.Queue[Batch]] = [asyncio.Queue(1) for _ in range(self._lanes)]
        async with asyncio.TaskGroup() as group:
            recording = [group.create_task(self._record(lane, batches)) for lane, batches in enumerate(lanes)]
            await self._collect(queue, lanes)
            for task in recording:
                task.cancel()

    async def end(self, seconds: float) -> None:
        """Begin no new batch, and wait so long for those in work."""
        self._ending.set()
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            log.warning("Stopping before a batch is recorded: its events will be read again")
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _collect(self, queue: EventQueue, lanes: list[asyncio.Queue[Batch]]) -> None:
        """Batches of what waits, each as large as it happens to be, up to the limit."""
        waiting: list[list[Record]] = [[] for _ in lanes]
        while True:
            try:
                event = await queue.get()
            except StopAsyncIteration:
                if self._ending.is_set():
                    return
                raise RuntimeError("Faust has ended the stream") from None
            await self._take(event, queue, waiting)
            for lane, batches in enumerate(lanes):
                records = waiting[lane]
                # Before a busy lane the next batch grows, while there is more to come: other lanes do not wait for it.
                grows = batches.full() and len(records) < self._batch_size and not queue.empty()
                if not records or grows:
                    continue
                try:
                    reading = self._recorder.read(records)
                except TooManyDead as error:
                    await self._stop_for_good("reading", error)
                    return
                waiting[lane] = []
                await batches.put((records, reading))

    async def _record(self, lane: int, batches: asyncio.Queue[Batch]) -> None:
        """One batch after the other; what is not begun when the service ends is read again after its restart."""
        part = f"recorder-{lane}"
        while True:
            records, reading = await batches.get()
            if self._ending.is_set():
                return
            self._busy += 1
            self._idle.clear()
            try:
                if await self._until_written(reading, lane, part):
                    # Offsets of a partition rise, but where some were read again: the last one is how far it is.
                    ends = {(record.topic, record.partition): record.offset for record in records}
                    for (topic, partition), offset in ends.items():
                        self._positions.recorded((self._prefix + topic, partition), offset)
            finally:
                self._process.quiet(part)  # nothing in hand promises nothing: an idle service is not stuck
                self._busy -= 1
                if not self._busy:
                    self._idle.set()

    async def _take(self, event: Any, queue: EventQueue, waiting: list[list[Record]]) -> None:
        """This event and what waits behind it, to each lane its own, until one lane's batch is full."""
        while True:
            message = event.message
            lane = waiting[self._lane_of.setdefault(message.partition, len(self._lane_of) % self._lanes)]
            accepted, seek_to = self._positions.accept((message.topic, message.partition), message.offset)
            if accepted:
                lane.append(self._of(message))
            elif seek_to is not None:
                log.warning("Offsets are missing and are read again", topic=message.topic, partition=message.partition)
                metrics.REREAD.labels(message.topic.removeprefix(self._prefix)).inc()
                await self._seek(message.topic, message.partition, seek_to)
            if len(lane) >= self._batch_size or queue.empty():
                return
            event = queue.get_nowait()

    async def _until_written(self, reading: Reading, lane: int, part: str) -> bool:
        """The batch stays in hand until the database has it; False when the service ended first."""
        loop = asyncio.get_running_loop()
        wait = FIRST_WAIT
        while not self._ending.is_set():
            self._process.beat(part, _BATCH_SECONDS)
            try:
                await loop.run_in_executor(self._pool, self._recorder.write, reading)
            except DatabaseUnavailable as error:
                self._lacks(lane, f"waiting for PostgreSQL: {error}")
            except KafkaUnavailable as error:
                self._lacks(lane, f"waiting for Kafka to take a dead letter: {error}")
            except TooManyDead as error:
                self._process.quiet(part)
                await self._stop_for_good("writing", error)
                return False
            else:
                self._lacks(lane, None)
                return True
            try:
                await asyncio.wait_for(self._ending.wait(), wait)
            except TimeoutError:
                wait = min(LONGEST_WAIT, wait * 2)
        return False

    async def _stop_for_good(self, part: str, error: TooManyDead) -> None:
        """Record nothing more, and stay to say so: a restart would empty the topic into the dead letters."""
        self._stopped = True
        self._conditions.say(part, f"stopped: {error}")
        log.critical("Recording has stopped, nothing more is committed: %s", error)
        await self._ending.wait()

    def _lacks(self, lane: int, sentence: str | None) -> None:
        if sentence is None:
            self._lacking.pop(lane, None)
        else:
            if not self._lacking:
                log.warning("Events wait to be recorded: %s", sentence)
            self._lacking[lane] = sentence
        self._conditions.say("recording", next(iter(self._lacking.values()), None))

    def _of(self, message: Any) -> Record:
        headers = message.headers
        pairs = headers.items() if isinstance(headers, dict) else headers or ()
        return Record(
            message.topic.removeprefix(self._prefix),
            message.partition,
            message.offset,
            message.key,
            list(pairs),
            message.value,
        )
