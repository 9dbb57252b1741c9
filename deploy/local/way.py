"""A job's way through the topics, as a third party sees it: for the demo."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Self

from deploy.local.errors import StackError
from shared.events.envelope import Event, UnreadableEvent, decode
from shared.events.topics import RUNS_RESULTS, SCHEDULES, runs_due
from shared.events.types import RunCancelled, RunFailed, RunSucceeded
from shared.kafka.consumer import Listener

POLL = 0.05


def topic_prefix() -> str:
    """What the names of the stack's topics begin with."""
    return os.environ.get("COMMANDCENTER_TOPIC_PREFIX", "commandcenter.")


class Way:
    """Listens on the topics that a schedule and its job pass."""

    def __init__(self, bootstrap_servers: str, task_type: str) -> None:
        self._prefix = topic_prefix()
        self._listeners = {
            topic.name: Listener(bootstrap_servers, self._prefix, topic.name, "demo")
            for topic in (SCHEDULES, runs_due(task_type), RUNS_RESULTS)
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for listener in self._listeners.values():
            listener.close()

    def listen(self, seconds: float) -> None:
        """From now on nothing is missed. Raises StackError when a topic is not there in time."""
        deadline = time.monotonic() + seconds
        for name, listener in self._listeners.items():
            while not listener.start():
                if time.monotonic() > deadline:
                    raise StackError(f"The topic {self._prefix}{name} is not there: look into `make logs FOLLOW=0`.")
                time.sleep(0.2)

    def follow(self, job_id: int, since: datetime, seconds: float) -> Iterator[str]:
        """One line per event of that job until its end. Raises StackError when it does not end in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            # The last topic first: what came before a result is then found in the same round, and sorted before it.
            seen = [found for name in reversed(self._listeners) for found in self._poll(name, job_id)]
            for event, where in sorted(seen, key=lambda found: found[0].time):
                after = (event.time - since).total_seconds() * 1000
                yield f"{after:7.0f} ms  {event.data.TYPE:<32} {where}"
                if isinstance(event.data, RunSucceeded | RunCancelled) or _is_final_failure(event):
                    return
        raise StackError(f"Job {job_id} did not end in {seconds:.0f} s: look into `make logs SERVICE=worker FOLLOW=0`.")

    def _poll(self, topic: str, job_id: int) -> Iterator[tuple[Event, str]]:
        for record in self._listeners[topic].poll(POLL):
            event = _readable(record.headers, record.value)
            if event is not None and event.job_id == job_id:
                yield event, f"{self._prefix}{topic}[{record.partition}]@{record.offset}"


def _is_final_failure(event: Event) -> bool:
    return isinstance(event.data, RunFailed) and not event.data.will_retry


def _readable(headers: list[tuple[str, bytes | None]], value: bytes | None) -> Event | None:
    try:
        return decode(headers, value)
    except UnreadableEvent:
        return None  # a tombstone, or somebody else's message: not on our job's way
