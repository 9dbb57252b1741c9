"""Faust's Kafka transport, without what it does for every message and nobody here uses.

Faust hands each message to its streams by `wait_first(deliver, suspended)`: a delivery which blocks can be given
up when a rebalance begins. That costs four asyncio tasks a message, more than all the rest of its work. A delivery that
cannot block (the flow is open, the queue has room) needs no race: it is awaited directly, which ends without a turn of
the loop. Nor are keys and values decoded on the way, nor the partitions' ends looked up for Faust's own monitor.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import faust
from faust.transport.drivers.aiokafka import Consumer, Transport
from mode.services import WaitResults


@dataclass(slots=True)
class Delivered:
    """What the stream's queue holds."""

    message: Any


class Untouched(faust.Schema[Any, Any]):
    """Hands a message over as it came."""

    def compile(  # type: ignore[override] # what it gives is no event of Faust's, on purpose
        self, app: Any, **_handlers: Any
    ) -> Callable[..., Awaitable[Delivered]]:
        """The function that Faust calls with each message."""

        async def hand_over(message: Any, *, propagate: bool = False) -> Delivered:
            return Delivered(message)

        return hand_over


class DirectConsumer(Consumer):
    """Delivers directly where it can, and as Faust does where it cannot."""

    async def wait_first(self, *coros: Any, timeout: Any = None) -> WaitResults:  # noqa: ASYNC109 (mode's signature)
        """As mode's `wait_first`, for the one call that Faust makes for every message."""
        app = self.app
        if (
            len(coros) == 2
            and timeout is None
            and isinstance(app, App)
            and app.flow_control.is_active()
            and not self.suspend_flow.is_set()
            and app.has_room()
        ):
            deliver, suspended = coros
            suspended.close()  # never awaited
            return WaitResults([deliver], [await deliver], False)
        return await super().wait_first(*coros, timeout=timeout)

    def highwater(self, tp: Any) -> int:
        """Asked at every message, for a monitor that is not shown: shared/kafka/lag.py asks the broker."""
        return 0


class DirectTransport(Transport):
    """The transport with that consumer."""

    Consumer = DirectConsumer


class App(faust.App):
    """An app on that transport. `has_room` says whether its stream's queue takes another event without waiting."""

    has_room: Callable[[], bool] = staticmethod(lambda: False)

    def _new_transport(self) -> Transport:
        return DirectTransport(self.conf.broker_consumer, self)
