"""A real HTTP server that misbehaves as its request's path says, and remembers what it was sent.

One thread a connection, plain sockets: what it does to a client is exactly what is written here.
"""

from __future__ import annotations

import socketserver
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Received:
    """A request as it arrived: header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class HostileServer:
    """`with HostileServer() as server: … server.url("/status/503") … server.received`."""

    host: str = "127.0.0.1"
    port: int = 0
    tls: ssl.SSLContext | None = None
    received: list[Received] = field(default_factory=list)
    answers: dict[str, list[int]] = field(default_factory=dict)
    """For `/script/<name>`: the status codes still to be given."""
    connections: int = 0
    bytes_taken: int = 0
    """How much of an endless body the clients have let in."""

    def __enter__(self) -> HostileServer:
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                outer._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False

        self.stopping = threading.Event()
        self._server = Server((self.host, self.port), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, path: str, host: str | None = None) -> str:
        return f"{'https' if self.tls else 'http'}://{host or self.host}:{self.port}{path}"

    def _serve(self, connection: Any) -> None:
        self.connections += 1
        with suppress(OSError):  # the client may end it at any moment: that is what these tests are about
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            request = _read(connection)
            if request is not None:
                self.received.append(request)
                self._answer(connection, request)

    def _answer(self, connection: Any, request: Received) -> None:
        _, kind, *rest = request.target.partition("?")[0].split("/")
        behaviours: dict[str, Callable[[], None]] = {
            "status": lambda: _send(connection, int(rest[0]), request.target.partition("?")[2]),
            "script": lambda: _send(connection, self.answers[rest[0]].pop(0)),
            "redirect": lambda: _send(connection, 302, "Location: http://169.254.169.254/latest/meta-data/"),
            "endless": lambda: self._endless(connection),
            "endless-then-nothing": lambda: self._stall(connection, b"HTTP/1.1 200 OK\r\n\r\nhello"),
            "drip-body": lambda: self._drip(connection, b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
            "drip-headers": lambda: self._drip(connection, b"HTTP/1.1 200 OK\r\n", b"x"),
            "huge-headers": lambda: self._flood(connection, b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"a" * 1_000 + b"\r\n"),
            "one-huge-header": lambda: self._flood(connection, b"HTTP/1.1 200 OK\r\nX-A: ", b"a" * 4_096),
            "interim": lambda: self._flood(connection, b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
            "huge-chunk-head": lambda: self._flood(
                connection, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0" * 4_096
            ),
            "silent": lambda: self._stall(connection, b""),
            "close": lambda: None,
            "garbage": lambda: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"),
        }
        behaviours[kind]()

    def _endless(self, connection: Any) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not self.stopping.is_set():
            connection.sendall(b"z" * 65_536)
            self.bytes_taken += 65_536

    def _flood(self, connection: Any, head: bytes, piece: bytes) -> None:
        connection.sendall(head)
        while not self.stopping.is_set():
            connection.sendall(piece)

    def _drip(self, connection: Any, head: bytes, piece: bytes) -> None:
        connection.sendall(head)
        while not self.stopping.wait(0.05):
            connection.sendall(piece)

    def _stall(self, connection: Any, head: bytes) -> None:
        connection.sendall(head)
        self.stopping.wait()


def _read(connection: Any) -> Received | None:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65_536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65_536)
    method, target, _ = first.split(" ")
    return Received(method, target, headers, body)


def _send(connection: Any, status: int, header: str = "") -> None:
    extra = f"{header}\r\n" if header else ""
    connection.sendall(f"HTTP/1.1 {status} Told\r\n{extra}Content-Length: 6\r\n\r\nanswer".encode())
