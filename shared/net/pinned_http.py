"""HTTP/1.1 requests on a user's behalf: to one judged address, no redirects, no proxy, bounded in size and time.

Used by health_check and webhook_delivery. The time limit covers everything from the name's resolution to the body's
last byte, so that a server which drips one byte a minute gets no further than one which does not answer. Once the
status line and headers are there they count, even if the body never ends: what the other side said, it said.
"""

import asyncio
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import quote, urlsplit

import h11

from shared.net.addresses import AddressRules, Names, system_names
from shared.net.connection import Connected, connect

_CHUNK = 16_384
MAX_HEADERS = 65_536
_MAX_PORT = 65_535
_MAX_INTERIM = 20
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_LEFT_AS_IT_IS = "%/:=&?~+!$,;'@()*[]-._"


class RequestFailed(Exception):
    """No answer. Temporary; the text says what happened."""


class RequestRefused(Exception):
    """The URL or a header is not one that may be sent. Permanent."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said. Header names are lower case; `complete` is false where the body was cut."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool
    address: str


@dataclass(frozen=True, slots=True)
class Url:
    """A URL taken apart as it will be requested: there is no second reading of it."""

    tls: bool
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def parsed(url: str) -> Url:
    """Take a URL apart. Raises RequestRefused unless it is http(s) with a host, and without credentials."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host = host.encode("idna").decode() if not host.isascii() else host
    except ValueError as error:  # UnicodeError is one
        raise RequestRefused(f"this is no URL: {error}") from error
    if parts.scheme not in {"http", "https"} or not _HOST.fullmatch(host) or parts.username is not None:
        raise RequestRefused("only http and https URLs with a host and without credentials are requested")
    tls = parts.scheme == "https"
    if port is None:
        port = 443 if tls else 80
    if not 0 < port <= _MAX_PORT:
        raise RequestRefused(f"{port} is no port")
    target = quote(parts.path or "/", safe=_LEFT_AS_IT_IS)
    if parts.query:
        target += "?" + quote(parts.query, safe=_LEFT_AS_IT_IS)
    return Url(tls, host, port, target)


async def request(  # noqa: PLR0913 (all but three have defaults; the last two are for tests and private trust)
    method: str,
    url: str,
    rules: AddressRules,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    timeout_seconds: float,
    body_limit: int = 65_536,
    names: Names = system_names,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """One request. Raises RequestFailed, RequestRefused, AddressRefused or NameUnknown.

    `tls`: whom to trust, default the system's certificates.
    """
    place = parsed(url)
    message = _message(method, place, headers or {}, body)
    heard = _Heard()
    address = ""
    trust = (tls or _system_trust()) if place.tls else None
    try:
        async with asyncio.timeout(timeout_seconds):
            connected = await connect(place.host, place.port, rules, tls=trust, names=names)
            address = connected.address
            try:
                await _exchange(connected, message, heard, body_limit)
            finally:
                connected.close()
    except (TimeoutError, OSError, h11.RemoteProtocolError) as error:
        if heard.status == 0:
            raise RequestFailed(_sentence(error, timeout_seconds)) from error
    return Answer(heard.status, heard.headers, bytes(heard.body[:body_limit]), heard.complete, address)


@dataclass(slots=True)
class _Heard:
    """What has come back so far."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False


@dataclass(frozen=True, slots=True)
class _Message:
    connection: h11.Connection
    data: bytes


def _message(method: str, place: Url, headers: Mapping[str, str], body: bytes) -> _Message:
    head = {"Host": place.authority, "Connection": "close", "User-Agent": "CommandCenter/1", **headers}
    if body or method == "POST":
        head["Content-Length"] = str(len(body))
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADERS)
    try:
        data = connection.send(h11.Request(method=method, target=place.target, headers=list(head.items()))) or b""
    except h11.LocalProtocolError as error:
        raise RequestRefused(f"this cannot be sent: {error}") from error
    if body:
        data += connection.send(h11.Data(data=body)) or b""
    return _Message(connection, data + (connection.send(h11.EndOfMessage()) or b""))


async def _exchange(connected: Connected, message: _Message, heard: _Heard, body_limit: int) -> None:
    connected.writer.write(message.data)
    await connected.writer.drain()
    connection, interim = message.connection, 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            data = await connected.reader.read(_CHUNK)
            if not data and heard.status == 0:
                raise ConnectionError("closed without an answer")
            connection.receive_data(data)
        elif isinstance(event, h11.Response):
            heard.status = event.status_code
            heard.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
        elif isinstance(event, h11.Data):
            heard.body += event.data
            if len(heard.body) > body_limit:
                return
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            heard.complete = True
            return
        elif isinstance(event, h11.InformationalResponse):  # 1xx: the real answer follows
            interim += 1
            if interim > _MAX_INTERIM:
                raise ConnectionError("nothing but interim answers")


def _sentence(error: Exception, timeout_seconds: float) -> str:
    match error:
        case TimeoutError():
            return f"no answer within {timeout_seconds:g} s"
        case ssl.SSLCertVerificationError():
            return f"TLS failed: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {error.reason or error}"
        case h11.RemoteProtocolError():
            return f"the answer is no HTTP: {error}"
        case OSError():
            return f"the connection failed: {error.strerror or error}"
        case _:
            return str(error)


@cache
def _system_trust() -> ssl.SSLContext:
    """Loaded once: reading all certificates takes some 20 ms, and this runs on an event loop."""
    return ssl.create_default_context()
