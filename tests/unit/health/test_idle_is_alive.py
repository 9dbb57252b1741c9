"""A service without events is idle, not stuck: seen as a health replica killed two minutes after its last event."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from services.health.conditions import Conditions
from services.health.intake import Intake
from services.health.positions import Positions
from services.health.recorder import Reading, Recorder
from shared.process import Process
from shared.storage.database import Database, DatabaseUnavailable

TOPIC = "commandcenter.runs.results"


class Queue(asyncio.Queue[object]):
    """Faust's queue holds events; here each is a message of the one partition."""

    def put_message(self, offset: int) -> None:
        message = SimpleNamespace(topic=TOPIC, partition=0, offset=offset, key=b"1", headers=[], value=b"{}")
        self.put_nowait(SimpleNamespace(message=message))


class Marked(Positions):
    """Tells when a batch has been recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.marked = asyncio.Event()

    def recorded(self, partition: tuple[str, int], offset: int) -> None:
        super().recorded(partition, offset)
        self.marked.set()


@pytest.mark.parametrize("refusals", [0, 1])
def test_an_hour_without_events_after_a_batch_is_no_standstill(refusals: int, monkeypatch: pytest.MonkeyPatch) -> None:
    process, positions, queue = Process("health"), Marked(), Queue()
    written: list[Reading] = []
    in_hand: list[list[str]] = []
    tries = iter([True] * refusals + [False])
    now = [1_000.0]
    monkeypatch.setattr("shared.clock.monotonic", lambda: now[0])

    class Writing(Recorder):
        """Stands for PostgreSQL: looks at the beats while a batch is in hand."""

        def write(self, reading: Reading) -> None:
            now[0] += 3_600
            in_hand.append(process.stale())
            now[0] -= 3_600
            if next(tries):
                raise DatabaseUnavailable("away")
            written.append(reading)

    nowhere = Database("postgresql+psycopg2://nobody@127.0.0.1:1/none", application="test")
    intake = Intake(
        Writing(nowhere, lambda _dead: None),
        positions,
        Conditions(recording=None, reading=None),
        prefix="commandcenter.",
        batch_size=10,
        lanes=2,
        seek=lambda *_: asyncio.sleep(0),
        process=process,
    )

    async def scenario() -> None:
        running = asyncio.create_task(intake.run(queue))
        queue.put_message(7)
        async with asyncio.timeout(5):
            await positions.marked.wait()
        running.cancel()
        await intake.end(1)

    asyncio.run(scenario())
    assert in_hand == [["recorder-0"]] * (refusals + 1)  # a batch that is not written does count as a standstill
    now[0] += 3_600
    assert process.stale() == []
