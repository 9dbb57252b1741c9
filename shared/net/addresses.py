"""Where this system may connect on a user's behalf: the rules against server-side request forgery (DESIGN section 10).

A name is resolved once, every address it has is judged, and the connection goes to a judged address, never to the name
again: a second answer of the DNS cannot change where it goes. Used by health_check, webhook_delivery and the fetching
of repositories; the api may ask `refusal` of an address that is written out in a URL.

The ranges are those of IANA's special-purpose registries (RFC 6890 and its updates), written out here: Python's own
`is_global` calls fec0::/10 and 192.0.0.192, a cloud's metadata service, global.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Protocol

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Names = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives a name's addresses; raises NameUnknown. Tests put a lying one in its place."""

_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        ("168.63.129.16", "100.100.100.200", "192.0.0.192", "169.254.169.254", "fd00:ec2::254", "fd20:ce::254"),
    )
)
_PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)
_SPECIAL = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",  # this network; 0.0.0.0 reaches the machine itself
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",  # 6to4 relays
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
            "2001::/23",  # Teredo among others: it carries IPv4 addresses
            "2001:db8::/32",
            "3fff::/20",
        ),
    )
)
_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")
_RESOLVING_AT_ONCE = 16


class AddressRefused(Exception):
    """The rules forbid this address. Permanent."""


class NameUnknown(Exception):
    """The name has no address now. Temporary."""


class AddressSettings(Protocol):
    """What a service's settings say about addresses."""

    @property
    def loopback_addresses(self) -> bool: ...

    @property
    def allow_private_networks(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class AddressRules:
    """Which addresses beyond the public internet are allowed."""

    allow_loopback: bool = False
    allow_private: bool = False

    @classmethod
    def of(cls, settings: AddressSettings) -> "AddressRules":
        """What the settings allow."""
        return cls(settings.loopback_addresses, settings.allow_private_networks)

    def refusal(self, address: IpAddress) -> str | None:
        """None when the address may be used, else why not: "<address> " + the text is a sentence's end."""
        inner = _embedded(address)
        if inner is not None:
            return self.refusal(inner)
        if address in _METADATA or address.is_link_local:
            return "is link-local or a cloud's metadata service"
        if address.is_unspecified or address.is_multicast:
            return "is no host's address"
        if address.is_loopback:
            return None if self.allow_loopback else "is this machine itself"
        if any(address in network for network in _PRIVATE):
            return None if self.allow_private else "is a private address"
        if any(address in network for network in _SPECIAL):
            return "is not a public address"
        if isinstance(address, ipaddress.IPv6Address) and address not in _UNICAST_V6:
            return "is not a public address"
        return None


def _embedded(address: IpAddress) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one reaches (mapped: RFC 4291, NAT64: RFC 6052, 6to4: RFC 3056)."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _SIX_TO_FOUR:
        return address.sixtofour
    return None


async def system_names(host: str, port: int) -> Sequence[str]:
    """The operating system's answer. On threads of its own: slow name servers must not stop other waiting work."""
    return await asyncio.get_running_loop().run_in_executor(_threads(), _system_addresses, host, port)


async def resolve(host: str, port: int, rules: AddressRules, names: Names = system_names) -> list[str]:
    """The addresses of `host`, best first, at least one. Raises AddressRefused if any of them is forbidden.

    One forbidden address refuses all: a name that is both here and there is an attack or a mistake.
    """
    return _judged(host, await names(host, port), rules)


def resolve_now(host: str, port: int, rules: AddressRules) -> list[str]:
    """The same, blocking."""
    return _judged(host, _system_addresses(host, port), rules)


def _system_addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NameUnknown(f"{host} cannot be resolved") from error
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def _judged(host: str, addresses: Sequence[str], rules: AddressRules) -> list[str]:
    for text in addresses:
        reason = rules.refusal(ipaddress.ip_address(text.partition("%")[0]))
        if reason is not None:
            raise AddressRefused(f"{host} has the address {text}, which {reason}")
    if not addresses:
        raise NameUnknown(f"{host} has no address")
    return list(addresses)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_RESOLVING_AT_ONCE, thread_name_prefix="names")
