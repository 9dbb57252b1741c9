"""What asks the api in its benchmarks: some callers at once, each on one kept connection, one request at a time.

It shares the machine's cores with what it measures, so it does as little as it can: requests are bytes made beforehand,
one thread waits for all sockets, and of an answer only the status and the length are read.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle

from benchmarks.servers import READY, BenchServers
from deploy.local.ports import free_ports
from deploy.local.probes import readiness
from deploy.local.server import Launch, spawn, wait_until

Request = tuple[str, str, object]
"""Method, path, body or None."""

PREPARED = 10_000
"""Requests made beforehand; whoever asks for more begins again with the first."""
_LENGTH = b"\r\ncontent-length: "


class _Caller:
    """One connection: sends, and gathers the answer."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_at = 0.0
        self._request = self._answer = b""

    def send(self, request: bytes) -> None:
        """Ask; the next answer belongs to this request."""
        self._request, self._answer = request, b""
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Read what has come; True when the answer is whole. Raises RuntimeError for one that is no success."""
        part = self.socket.recv(1 << 18)
        if not part:
            raise RuntimeError(f"the api closed the connection: {self._request[:200]!r}")
        self._answer = answer = self._answer + part if self._answer else part
        head = answer.find(b"\r\n\r\n")
        if head < 0:
            return False
        place = answer.find(_LENGTH, 0, head) + len(_LENGTH)
        length = int(answer[place : answer.find(b"\r\n", place, head + 2)])
        if len(answer) < head + 4 + length:
            return False
        if answer[9:10] != b"2":
            raise RuntimeError(f"{self._request[:300]!r}: {answer[:600]!r}")
        return True


def ask(
    port: int, request: Callable[[int], Request], seconds: float, callers: int, first: int = 0
) -> tuple[list[float], float]:
    """Durations in seconds, sorted, and how long it all took. `request` gets the request's number, from `first` on."""
    prepared = cycle([_bytes(*request(number)) for number in range(first, first + PREPARED)])
    everyone = [_Caller(port) for _ in range(callers)]
    try:
        return _ask(everyone, prepared, seconds)
    finally:
        for caller in everyone:
            caller.socket.close()


def _ask(everyone: Sequence[_Caller], requests: Iterator[bytes], seconds: float) -> tuple[list[float], float]:
    durations: list[float] = []
    now = time.perf_counter
    with selectors.DefaultSelector() as selector:
        for caller in everyone:
            selector.register(caller.socket, selectors.EVENT_READ, caller)
        started = now()
        for caller in everyone:
            caller.send(next(requests))
        waiting = len(everyone)
        while waiting:
            for key, _ in selector.select():
                caller = key.data
                if not caller.receive():
                    continue
                durations.append(now() - caller.sent_at)
                if now() - started < seconds:
                    caller.send(next(requests))
                else:
                    waiting -= 1
        return sorted(durations), now() - started


def _bytes(method: str, path: str, body: object) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n"
    return head.encode() + b"Content-Type: application/json\r\n\r\n" + content


@contextmanager
def api_process(servers: BenchServers) -> Iterator[int]:
    """One api process; it needs no Kafka."""
    port = free_ports(1)[0]
    settings = {
        "COMMANDCENTER_HOME": str(servers.home),
        "COMMANDCENTER_DATABASE_URL": servers.database_url,
        "COMMANDCENTER_API_PORT": str(port),
    }
    process = spawn(Launch("api", (sys.executable, "-m", "services.api"), servers.home / "logs" / "api.log", settings))
    try:
        if not wait_until(lambda: readiness(f"http://127.0.0.1:{port}")[0], READY):
            raise RuntimeError("the api did not become ready")
        yield port
    finally:
        process.terminate()
        process.wait(15)


def figures(name: str, durations: list[float], seconds: float) -> dict[str, float]:
    """What is reported of a request: its rate, and the milliseconds of half and of nearly all."""
    count = len(durations)
    return {
        f"{name}_per_second": count / seconds,
        f"{name}_p50_ms": durations[count // 2] * 1000,
        f"{name}_p99_ms": durations[min(count - 1, count * 99 // 100)] * 1000,
    }
