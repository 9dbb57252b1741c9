"""Keeps this worker's claims alive, and learns which it has lost.

Every few seconds the leases of what this worker has in hand are renewed in one statement. A running attempt whose claim
is no longer open was declared lost meanwhile (this process had been frozen or cut off): it is stopped, since its next
attempt may already run elsewhere.
"""

import threading

from services.worker.executor import CLAIM_LOST, Executor
from services.worker.incarnation import Incarnation
from services.worker.results import Results
from services.worker.settings import Settings
from shared.process import Process
from shared.storage import claims, outbox
from shared.storage.database import Database, DatabaseUnavailable
from shared.telemetry.logging import get_logger
from shared.telemetry.metrics import FAULTS

log = get_logger(__name__)


class Heartbeat:
    """One thread."""

    def __init__(
        self,
        settings: Settings,
        process: Process,
        database: Database,
        executor: Executor,
        results: Results,
        me: Incarnation,
    ) -> None:
        self._results = results
        self._settings = settings
        self._process = process
        self._database = database
        self._executor = executor
        self._me = me
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Beat from now on."""
        self._thread.start()

    def stop(self) -> None:
        """After the last attempt has ended."""
        self._ended.set()
        self._thread.join(5.0)
        self._process.quiet("heartbeat")

    def take_over(self) -> None:
        """Once, before the first claim: end the leases of this name's dead processes, for the rescue to see at once.

        Raises DatabaseUnavailable.
        """
        with self._database.transaction() as connection:
            others = [Incarnation.parse(worker) for worker in claims.holders(connection, self._me.instance)]
            dead = [str(other) for other in others if other and other != self._me and other.is_surely_dead()]
            if dead and (count := claims.expire(connection, dead)):
                outbox.notify(connection, outbox.LOST_CHANNEL)
                log.warning(
                    f"{count} attempts were open when this worker died; they are given to the rescue",
                    action="worker.took_over",
                )

    def beat(self) -> None:
        """Renew, and stop what is no longer ours. Raises DatabaseUnavailable."""
        before = self._executor.running()
        known = before | self._results.open()  # what has ended, and Kafka has not taken yet, is still this worker's
        if not known:
            return
        with self._database.transaction() as connection:
            held = claims.extend(connection, str(self._me), self._settings.worker_lease_seconds, known)
        for job_id, attempt in before - held:
            # Ended meanwhile by itself: then it is not running any more, and cancel finds nothing.
            if self._executor.cancel(job_id, attempt, CLAIM_LOST):
                FAULTS.labels("worker", "claim_lost").inc()
                log.error("Stopped an attempt whose claim was taken away", action="run.claim_lost", job_id=job_id)

    def _run(self) -> None:
        wait = self._settings.worker_heartbeat_seconds
        while not self._ended.wait(wait):
            self._process.beat("heartbeat", 60.0)
            try:
                self.beat()
                wait = self._settings.worker_heartbeat_seconds
            except DatabaseUnavailable as error:
                wait = 0.5  # the lease runs: try again soon
                log.warning("Leases cannot be renewed", action="database.unavailable", error=str(error))
