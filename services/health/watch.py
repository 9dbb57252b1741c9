"""The watch over our own consumer: behind without progress means stuck, and stuck means ending with an error.

A Faust consumer can sit alive but idle after a broker restart (faust-streaming #523, #532). Only a restart helps, and
the supervisor's restart is cheap: what was not committed is read again.
"""

import threading
from collections.abc import Callable, Iterable

from services.health.conditions import Conditions
from shared import clock
from shared.events.topics import OBJECTS, RUNS_REQUESTS, RUNS_RESULTS, SCHEDULES
from shared.kafka.lag import BrokerUnavailable, LagReader, Standing
from shared.process import Process
from shared.telemetry import metrics
from shared.telemetry.logging import get_logger

log = get_logger(__name__)

TOPICS = (RUNS_RESULTS.name, RUNS_REQUESTS.name, OBJECTS.name, SCHEDULES.name)
"""What this service consumes, without prefix."""


class StuckJudge:
    """Decides from offsets alone. One partition that never moves is enough: others' progress does not excuse it."""

    def __init__(self, patience_seconds: float) -> None:
        self._patience = patience_seconds
        self._since: dict[tuple[str, int], tuple[int, float]] = {}

    def stuck(self, standings: Iterable[Standing], now: float, *, excused: bool) -> list[Standing]:
        """The partitions behind without progress for longer than the patience; `excused` starts every count anew."""
        found = []
        since: dict[tuple[str, int], tuple[int, float]] = {}
        for one in standings:
            key = (one.topic, one.partition)
            committed, at = self._since.get(key, (one.committed, now))
            if excused or one.lag == 0 or committed != one.committed:
                committed, at = one.committed, now
            since[key] = committed, at
            if now - at > self._patience:
                found.append(one)
        self._since = since
        return found


class Watch:
    """Asks the broker every few seconds, on a thread of its own."""

    def __init__(
        self,
        reader: LagReader,
        group: str,
        process: Process,
        conditions: Conditions,
        *,
        patience_seconds: float,
        mine: Callable[[], frozenset[tuple[str, int]]],
        excused: Callable[[], bool],
    ) -> None:
        """`mine`: the partitions (topic without prefix, partition) this replica has now; others are others' affair."""
        self._reader, self._group = reader, group
        self._process, self._conditions = process, conditions
        self._judge = StuckJudge(patience_seconds)
        self._every = min(2.0, patience_seconds / 5)
        self._mine, self._excused = mine, excused
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Watch until the process stops."""
        self._thread.start()

    def _run(self) -> None:
        while not self._process.stopping.wait(self._every):
            self._process.beat("watch", 60)
            self.look()

    def look(self) -> None:
        """One look."""
        try:
            standings = self._reader.read(self._group, TOPICS)
        except BrokerUnavailable as error:
            self._conditions.say("kafka", f"Kafka does not answer: {error}")
            self._judge.stuck((), clock.monotonic(), excused=True)
            return
        self._conditions.say("kafka", None)
        mine = self._mine()
        own = [one for one in standings if (one.topic, one.partition) in mine]
        for topic in TOPICS:
            metrics.CONSUMER_LAG.labels("health", topic).set(sum(one.lag for one in own if one.topic == topic))
        stuck = self._judge.stuck(own, clock.monotonic(), excused=self._excused())
        if stuck:
            log.error(
                "The consumer is stuck and is ended, so that it begins anew",
                partitions=" ".join(f"{one.topic}/{one.partition}" for one in stuck),
                lag=sum(one.lag for one in stuck),
            )
            metrics.FAULTS.labels("health", "consumer_stuck").inc()
            self._process.fail()
