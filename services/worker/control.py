"""Listens to `runs.control`: a request to stop a running attempt reaches it within a second.

Every worker reads all of it, outside any group; the one that runs the job stops it, the others find nothing to do.
"""

import threading
from collections.abc import Callable

from services.worker.executor import Executor
from shared.events.envelope import UnreadableEvent, decode
from shared.events.types import RunCancel
from shared.kafka.consumer import Listener
from shared.process import Process
from shared.telemetry.logging import get_logger
from shared.telemetry.metrics import FAULTS

log = get_logger(__name__)


class Control:
    """One thread."""

    def __init__(self, listener: Listener, executor: Executor, process: Process) -> None:
        self._listener = listener
        self._executor = executor
        self._process = process
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def start(self, stopped: Callable[[], bool]) -> bool:
        """Fix the position in the topic, waiting for Kafka as long as it takes; False when `stopped` came first."""
        while not self._listener.start():
            if stopped():
                return False
        self._thread.start()
        return True

    def stop(self) -> None:
        """End."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(5.0)
        self._listener.close()
        self._process.quiet("control")

    def _run(self) -> None:
        while not self._ended.is_set():
            self._process.beat("control", 30.0)
            for record in self._listener.poll(0.2):
                try:
                    event = decode(record.headers, record.value)
                except UnreadableEvent as error:
                    FAULTS.labels("worker", "control_unreadable").inc()
                    log.warning("A control message cannot be read", action="control.unreadable", error=str(error))
                    continue
                if isinstance(event.data, RunCancel):
                    self._cancel(event.data)

    def _cancel(self, request: RunCancel) -> None:
        if self._executor.ask_to_stop(request.job_id, request.attempt, request.reason):
            log.info(
                f"Stopping job {request.job_id}: {request.reason}",
                action="run.cancelling",
                schedule_id=request.schedule_id,
                job_id=request.job_id,
            )
