"""Where this system may connect on a user's behalf: the rules against server-side request forgery (DESIGN section 10).

A name is resolved once, every address it has is judged, and the connection goes to a judged address, never to the name
again: a second answer of the DNS cannot change where it goes. Used by health_check, webhook_delivery and the fetching
of repositories.
"""

import asyncio
import ipaddress
import socket
from dataclasses import dataclass

from services.worker.settings import Settings

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Global by the registry's word, and yet the front door to a cloud machine's secrets.
_METADATA = frozenset(map(ipaddress.ip_address, ("168.63.129.16", "100.100.100.200")))
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_SIX_TO_FOUR = ipaddress.ip_network("2002::/16")


class AddressRefused(Exception):
    """The rules forbid this address. Permanent."""


class NameUnknown(Exception):
    """The name has no address now. Temporary."""


@dataclass(frozen=True, slots=True)
class AddressRules:
    """Which addresses beyond the public internet are allowed."""

    allow_loopback: bool = False
    allow_private: bool = False

    @classmethod
    def of(cls, settings: Settings) -> "AddressRules":
        """What the settings allow."""
        return cls(settings.allow_loopback, settings.allow_private_networks)

    def refusal(self, address: IpAddress) -> str | None:
        """None when the address may be used, else why not."""
        inner = _embedded(address)
        if inner is not None:
            return self.refusal(inner)
        if address in _METADATA or address.is_link_local:
            return "is link-local or a cloud's metadata service"
        if address.is_unspecified or address.is_multicast:
            return "is no host's address"
        if address.is_loopback:
            return None if self.allow_loopback else "is this machine itself"
        if address.is_global and not address.is_reserved:
            return None
        private = address.is_private and not address.is_reserved
        return None if private and self.allow_private else "is not a public address"


def _embedded(address: IpAddress) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for (mapped, NAT64, 6to4)."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _SIX_TO_FOUR:
        return address.sixtofour
    return None


async def resolve(host: str, port: int, rules: AddressRules) -> str:
    """One address of `host` that may be connected to. Raises AddressRefused if any of its addresses is forbidden."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NameUnknown(f"{host} cannot be resolved") from error
    return _judged(host, [str(one[4][0]) for one in found], rules)


def resolve_now(host: str, port: int, rules: AddressRules) -> str:
    """The same, blocking."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NameUnknown(f"{host} cannot be resolved") from error
    return _judged(host, [str(one[4][0]) for one in found], rules)


def _judged(host: str, addresses: list[str], rules: AddressRules) -> str:
    for text in addresses:
        reason = rules.refusal(ipaddress.ip_address(text.partition("%")[0]))
        if reason is not None:
            raise AddressRefused(f"{host} has the address {text}, which {reason}")
    if not addresses:
        raise NameUnknown(f"{host} has no address")
    return addresses[0]
