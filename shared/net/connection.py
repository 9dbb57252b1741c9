"""Opens connections to judged addresses. Used by HTTP requests and by health_check's TCP probes."""

import asyncio
import os
import ssl
from dataclasses import dataclass

from shared.net.addresses import AddressRules, Names, resolve, system_names

_ADDRESSES_TRIED = 4
_CONNECT_SECONDS = 5.0
"""For one address: one that swallows packets must leave time for the next."""
_BUFFER = 65_536


@dataclass(frozen=True, slots=True)
class Connected:
    """An open connection, and the address it goes to."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    address: str

    def close(self) -> None:
        """End it at once: nothing more is wanted, and a polite close could wait for the other side."""
        self.writer.transport.abort()


async def connect(
    host: str, port: int, rules: AddressRules, *, tls: ssl.SSLContext | None = None, names: Names = system_names
) -> Connected:
    """Resolve `host` once and connect to one of its addresses; with `tls` the certificate must be the name's.

    Raises AddressRefused, NameUnknown, OSError (ssl.SSLError included); the caller bounds the time.
    """
    failure: OSError = ConnectionError(f"{host} has no address")
    for address in (await resolve(host, port, rules, names))[:_ADDRESSES_TRIED]:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(
                    address, port, ssl=tls, server_hostname=host if tls else None, limit=_BUFFER
                )
            return Connected(reader, writer, address)
        except TimeoutError:
            failure = ConnectionError(f"{address} did not answer within {_CONNECT_SECONDS:g} s")
        except ssl.SSLError as error:
            failure = error
        except OSError as error:
            # asyncio says "Connect call failed ('127.0.0.1', 1)"; the system says what happened.
            failure = OSError(error.errno, os.strerror(error.errno)) if error.errno else error
    raise failure
