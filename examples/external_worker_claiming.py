# ruff: noqa: INP001 - a script to copy, not a package
"""The external worker that starts each attempt at most once: it claims it over the API, and keeps it by heartbeats.

python examples/external_worker_claiming.py 127.0.0.1:9092 render http://127.0.0.1:8000
"""

import json
import os
import sys
import threading
import urllib.error
import urllib.request
from typing import Any

import external_worker
from confluent_kafka import Producer

LEASE_SECONDS = int(os.environ.get("LEASE_SECONDS", "60"))
MISSED_BEATS = 2
"""Heartbeats that may fail in a row: as long as the lease lasts, the attempt is ours."""


def ask(api: str, due: dict[str, Any], what: str) -> bool:
    """`claim`: whether this attempt is ours to start; `heartbeat`: whether it still is. 409 says no."""
    url = f"{api}/api/v1/jobs/{due['job_id']}/attempts/{due['attempt']}/{what}"
    body = json.dumps({"worker": external_worker.NAME, "lease_seconds": LEASE_SECONDS}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - the operator's
    try:
        with urllib.request.urlopen(request, timeout=10):  # noqa: S310
            return True
    except urllib.error.HTTPError as error:
        if error.code == 409:
            return False
        raise


def keep(api: str, due: dict[str, Any], done: threading.Event) -> None:
    """Renew the lease while the work lasts. Once it is lost the next attempt may run elsewhere: end, answer nothing."""
    missed = 0
    while not done.wait(LEASE_SECONDS / 4):
        try:
            if not ask(api, due, "heartbeat"):
                os._exit(1)
            missed = 0
        except OSError:
            missed += 1
            if missed > MISSED_BEATS:
                os._exit(1)


def main(servers: str, task_type: str, api: str) -> None:
    """Serve until SIGTERM."""

    def serve(producer: Producer, due: dict[str, Any]) -> None:
        if not ask(api, due, "claim"):
            return  # somebody has started it, or it was cancelled
        done = threading.Event()
        threading.Thread(target=keep, args=(api, due, done), daemon=True).start()
        external_worker.serve(producer, due)
        done.set()

    external_worker.main(servers, task_type, serve)


if __name__ == "__main__":
    main(*sys.argv[1:])
