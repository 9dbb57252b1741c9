"""What the test of mixed runs stands on: workers disturbed at random, a sink for effects, an eye on offsets."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
import psutil
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

Query = Callable[..., list[tuple[Any, ...]]]


class Sink:
    """An HTTP server of nobody's side: counts what reaches it, by the delivery's id, or by the path asked for."""

    def __init__(self) -> None:
        self.deliveries: Counter[int] = Counter()
        """POSTs by the job they speak of."""
        self.ids: dict[int, set[str]] = {}
        """The `webhook-id`s of each job."""
        self.visits: Counter[str] = Counter()
        sink, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
                job = body["data"]["job"]["id"]
                with lock:
                    sink.deliveries[job] += 1
                    sink.ids.setdefault(job, set()).add(self.headers["webhook-id"])
                time.sleep(1.0)  # so that disturbances find deliveries under way
                self._answer()

            def do_GET(self) -> None:
                with lock:
                    sink.visits[self.path] += 1
                self._answer()

            def _answer(self) -> None:
                try:
                    self.send_response(200)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                except OSError:
                    pass  # whoever asked was killed meanwhile

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Disturber:
    """Kills, freezes and stops workers at random, one at a time, until told to end; then thaws all."""

    workers: dict[str, Callable[[], int]]
    """Name → its present process id. Somebody else starts anew what has ended."""
    chance: random.Random
    done: Counter[str] = field(default_factory=Counter)
    _over: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        frozen: dict[int, float] = {}
        while not self._over.wait(0.5):
            for pid in [pid for pid, until in frozen.items() if time.monotonic() > until]:
                del frozen[pid]
                _signal(pid, signal.SIGCONT)
            if self.chance.random() > 0.3:
                continue
            try:
                pid = self.chance.choice(list(self.workers.values()))()
            except (OSError, ValueError):
                continue  # between two lives
            what = self.chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
            if pid in frozen or not _signal(pid, what):
                continue
            self.done[what.name] += 1
            if what == signal.SIGSTOP:
                frozen[pid] = time.monotonic() + self.chance.choice([1.0, 8.0, 16.0])
        for pid in frozen:
            _signal(pid, signal.SIGCONT)


def _signal(pid: int, number: signal.Signals) -> bool:
    try:
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return False
        os.kill(pid, number)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False
    return True


class Offsets:
    """Looks all the time whether the group's offsets have passed an attempt that nobody has claimed.

    An attempt's claim is what its end follows from: by its result, or by the rescue when its worker is lost.
    """

    def __init__(self, servers: str, prefix: str, query: Query) -> None:
        self.passed: list[tuple[str, int, tuple[int, int]]] = []
        """What must stay empty: (topic, offset, (job, attempt))."""
        self._prefix, self._query = prefix, query
        self._group = Consumer({"bootstrap.servers": servers, "group.id": f"{prefix}worker"})
        self._reader = Consumer({"bootstrap.servers": servers, "group.id": f"{prefix}eye", "enable.auto.commit": False})
        self._partitions = [
            TopicPartition(topic, partition)
            for topic, found in self._reader.list_topics(timeout=10).topics.items()
            if topic.startswith(f"{prefix}runs.due.")
            for partition in found.partitions
        ]
        self._reader.assign([TopicPartition(one.topic, one.partition, OFFSET_BEGINNING) for one in self._partitions])
        self._attempts: dict[tuple[str, int], dict[int, tuple[int, int]]] = {}
        self._checked: Counter[tuple[str, int]] = Counter()
        self._over = threading.Event()
        self._looking = ThreadPoolExecutor(max_workers=1).submit(self._run)

    def close(self) -> None:
        """End; raises what has kept it from looking."""
        self._over.set()
        self._looking.result()
        self._group.close()
        self._reader.close()

    def behind(self) -> int:
        """Records that are not committed yet."""
        ends = {
            (one.topic, one.partition): self._group.get_watermark_offsets(one, timeout=5)[1] for one in self._partitions
        }
        return sum(ends.values()) - sum(self._committed().values())

    def _committed(self) -> dict[tuple[str, int], int]:
        found = self._group.committed(self._partitions, timeout=10)
        return {(one.topic, one.partition): max(0, one.offset) for one in found}

    def _run(self) -> None:
        while not self._over.is_set():
            committed = self._committed()
            self._read(committed)
            new = {
                (place, offset): self._attempts[place][offset]
                for place, until in committed.items()
                for offset in range(self._checked[place], until)
            }
            self._checked.update({place: until - self._checked[place] for place, until in committed.items()})
            if new:
                claimed = set(self._query("SELECT job_id, attempt FROM run_claims"))
                self.passed += [(p[0], offset, key) for (p, offset), key in new.items() if key not in claimed]

    def _read(self, until: dict[tuple[str, int], int]) -> None:
        """At least so far."""
        while True:
            for message in self._reader.consume(500, 0.2):
                assert message.error() is None, message.error()
                due = orjson.loads(message.value() or b"")
                place = (message.topic() or "", message.partition() or 0)
                self._attempts.setdefault(place, {})[message.offset() or 0] = (due["job_id"], due["attempt"])
            if all(offset - 1 in self._attempts.get(place, {}) for place, offset in until.items() if offset):
                return
