"""From the Faust stream into the recorder, in batches, without losing any; and from there back to Kafka's offsets.

The agent (consuming.py) runs `Intake.run` on its stream's queue. Taking from it spares Faust's per-event machinery
and its acknowledgements, which this service cannot use (positions.py says why).
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from services.health.conditions import Conditions
from services.health.positions import Positions
from services.health.recorder import Recorded, TooManyUnreadable
from shared.kafka.consumer import Record
from shared.storage.database import DatabaseUnavailable
from shared.telemetry import metrics
from shared.telemetry.logging import get_logger

log = get_logger(__name__)

FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0
"""Seconds between two tries of the same batch."""


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
    """Takes events, has them recorded, remembers how far each partition is."""

    def __init__(
        self,
        record: Callable[[Sequence[Record]], Recorded],
        positions: Positions,
        conditions: Conditions,
        *,
        prefix: str,
        batch_size: int,
        seek: Callable[[str, int, int], Any],
        beat: Callable[[], None],
    ) -> None:
        """`seek(topic, partition, offset)` is a coroutine that makes the consumer read from there again."""
        self._record = record
        self._positions = positions
        self._conditions = conditions
        self._prefix = prefix
        self._batch_size = batch_size
        self._seek = seek
        self._beat = beat
        self._pool = ThreadPoolExecutor(1, "recorder")  # one: batches are recorded in their order
        self._ending = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.waiting = False
        """Whether recording waits for a server, or has stopped for good: then no progress is no surprise."""

    async def run(self, queue: EventQueue) -> None:
        """Take and record until the task is cancelled or the stream ends, which it does only when the service does."""
        while True:
            try:
                event = await queue.get()
            except StopAsyncIteration:
                if self._ending.is_set():
                    return
                raise RuntimeError("Faust has ended the stream") from None
            if self._ending.is_set():
                await asyncio.Event().wait()  # what is not begun is read again after the restart
            self._idle.clear()
            try:
                await self._take(event, queue)
            finally:
                self._idle.set()

    async def end(self, seconds: float) -> None:
        """Begin no new batch, and wait so long for the one in work."""
        self._ending.set()
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            log.warning("Stopping before a batch is recorded: its events will be read again")
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _take(self, event: Any, queue: EventQueue) -> None:
        records: list[Record] = []
        while True:
            message = event.message
            accepted, seek_to = self._positions.accept((message.topic, message.partition), message.offset)
            if accepted:
                records.append(self._of(message))
            elif seek_to is not None:
                log.warning("Offsets are missing and are read again", topic=message.topic, partition=message.partition)
                metrics.REREAD.labels(message.topic.removeprefix(self._prefix)).inc()
                await self._seek(message.topic, message.partition, seek_to)
            if len(records) >= self._batch_size or queue.empty():
                break
            event = queue.get_nowait()
        if records:
            await self._until_recorded(records)
            for record in records:
                self._positions.recorded((self._prefix + record.topic, record.partition), record.offset)

    async def _until_recorded(self, records: list[Record]) -> None:
        """The batch stays in hand until the database has it."""
        loop = asyncio.get_running_loop()
        wait = FIRST_WAIT
        while not self._ending.is_set():
            self._beat()
            try:
                await loop.run_in_executor(self._pool, self._record, records)
            except DatabaseUnavailable as error:
                self._lacks("recording", f"waiting for PostgreSQL: {error}")
            except KafkaUnavailable as error:
                self._lacks("recording", f"waiting for Kafka to take a dead letter: {error}")
            except TooManyUnreadable as error:
                self._lacks("recording", f"stopped: {error}")
                log.critical("Recording has stopped, nothing is committed: %s", error)
                await self._ending.wait()
            else:
                self.waiting = False
                self._conditions.say("recording", None)
                return
            try:
                await asyncio.wait_for(self._ending.wait(), wait)
            except TimeoutError:
                wait = min(LONGEST_WAIT, wait * 2)
        raise asyncio.CancelledError

    def _lacks(self, part: str, sentence: str) -> None:
        if not self.waiting:
            log.warning("Events wait to be recorded: %s", sentence)
        self.waiting = True
        self._conditions.say(part, sentence)

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
