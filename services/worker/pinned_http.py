"""HTTP/1.1 requests on a user's behalf: to one judged address, no redirects, no proxy, bounded in size and time.

Used by health_check and webhook_delivery. The time limit covers everything from the name's resolution to the body's
last byte, so that a server which drips one byte a minute gets no further than one which does not answer.
"""

import asyncio
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

from services.worker.addresses import AddressRules, resolve

_CHUNK = 16_384
MAX_HEADERS = 65_536


class RequestFailed(Exception):
    """No complete answer. Temporary; the text says what happened."""


class RequestRefused(Exception):
    """The URL is not one that may be requested. Permanent."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said; `body` is cut at the limit."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool
    address: str


async def request(
    method: str,
    url: str,
    rules: AddressRules,
    *,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    timeout_seconds: float,
    body_limit: int = 65_536,
) -> Answer:
    """One request. Raises RequestFailed, RequestRefused, AddressRefused or NameUnknown."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise RequestRefused(f"{url} is no URL: {error}") from error
    if parts.scheme not in {"http", "https"} or not host or parts.username is not None:
        raise RequestRefused("only http and https URLs with a host and without credentials are requested")
    port = port or (443 if parts.scheme == "https" else 80)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    head = {"Host": parts.netloc, "Connection": "close", "User-Agent": "CommandCenter/1", **(headers or {})}
    if body or method == "POST":
        head["Content-Length"] = str(len(body))
    try:
        async with asyncio.timeout(timeout_seconds):
            address = await resolve(host, port, rules)
            context = ssl.create_default_context() if parts.scheme == "https" else None
            reader, writer = await asyncio.open_connection(
                address, port, ssl=context, server_hostname=host if context else None, limit=MAX_HEADERS
            )
            try:
                return await _exchange(reader, writer, (method, target, head, body), body_limit, address)
            finally:
                writer.transport.abort()  # nothing more is wanted, and a close could wait for the other side
    except TimeoutError as error:
        raise RequestFailed(f"no complete answer within {timeout_seconds:g} s") from error
    except ssl.SSLError as error:
        raise RequestFailed(f"TLS failed: {error.reason or error}") from error
    except OSError as error:
        raise RequestFailed(f"the connection failed: {error.strerror or error}") from error
    except h11.ProtocolError as error:
        raise RequestFailed(f"the answer is no HTTP: {error}") from error


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    call: tuple[str, str, dict[str, str], bytes],
    body_limit: int,
    address: str,
) -> Answer:
    method, target, head, body = call
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADERS)
    sent = connection.send(h11.Request(method=method, target=target, headers=list(head.items()))) or b""
    if body:
        sent += connection.send(h11.Data(data=body)) or b""
    writer.write(sent + (connection.send(h11.EndOfMessage()) or b""))
    await writer.drain()
    status, answered, content = 0, {}, bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Response):
            status = event.status_code
            answered = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
        elif isinstance(event, h11.Data):
            content += event.data
            if len(content) >= body_limit:
                return Answer(status, answered, bytes(content[:body_limit]), False, address)
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            if status == 0:
                raise RequestFailed("the connection was closed without an answer")
            return Answer(status, answered, bytes(content), True, address)
        # h11.InformationalResponse (1xx): the real answer follows
