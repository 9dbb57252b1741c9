"""Which services live but do not work: asked on /livez by the supervisor, which then starts them again.

/livez judges the process alone, so an outage of Kafka or PostgreSQL never counts against a service here.
"""

from __future__ import annotations

import threading
import time
import urllib.error
from collections.abc import Mapping

from deploy.local.probes import open_url

INTERVAL = 3.0
STUCK_AFTER = 12.0
"""Seconds of "stuck" answers after which a service is given up."""
SILENT_AFTER = 60.0
"""Seconds without any answer, once it had answered: a frozen process; longer, since a busy machine may look alike."""
_LONGEST_ANSWER = 500


class Liveness:
    """Asks every service on a thread of its own; the supervisor reads the verdict."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        """`urls`: service → where it answers."""
        self._urls = urls
        self._since: dict[str, tuple[str, float]] = {}
        self._heard: set[str] = set()
        self._said: dict[str, str] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="liveness", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._ended.set()

    def restarted(self, name: str) -> None:
        """A new process of this name begins with a clean record."""
        with self._lock:
            self._since.pop(name, None)
            self._heard.discard(name)

    def given_up(self) -> dict[str, str]:
        """The services that have been stuck or silent for too long, each with what it said, for the log."""
        now = time.monotonic()
        limits = {"stuck": STUCK_AFTER, "silent": SILENT_AFTER}
        with self._lock:
            return {
                name: self._said.get(name, "")
                for name, (how, since) in self._since.items()
                if now - since > limits[how] and (how == "stuck" or name in self._heard)
            }

    def _watch(self) -> None:
        while not self._ended.wait(INTERVAL):
            for name, url in self._urls.items():
                self._note(name, *_verdict(url))

    def _note(self, name: str, verdict: str, said: str) -> None:
        with self._lock:
            self._said[name] = said
            if verdict == "alive":
                self._since.pop(name, None)
                self._heard.add(name)
            elif self._since.get(name, ("", 0.0))[0] != verdict:
                self._since[name] = (verdict, time.monotonic())


def _verdict(url: str) -> tuple[str, str]:
    """alive, stuck or silent, and the words of the answer: they name the part that hangs."""
    try:
        with open_url(f"{url}/livez", timeout=2.0):
            return "alive", ""
    except urllib.error.HTTPError as error:
        with error:
            return "stuck", error.read(_LONGEST_ANSWER).decode("utf-8", "replace")
    except (OSError, ValueError) as error:
        return "silent", str(error)
