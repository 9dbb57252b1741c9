"""Which addresses may be connected to: IANA's registries, every way to write the machine's own address, lying names."""

import asyncio
import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.net.addresses import AddressRefused, AddressRules, NameUnknown, resolve, resolve_now

PUBLIC = AddressRules()
LOCAL = AddressRules(allow_loopback=True)
PRIVATE = AddressRules(allow_private=True)
EVERYTHING = AddressRules(allow_loopback=True, allow_private=True)

METADATA = ("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254")
PRIVATE_NETWORKS = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
NEVER = (
    "0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
    "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "::/128", "64:ff9b:1::/48", "100::/64",
    "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16", "fe80::/10", "fec0::/10", "ff00::/8", "::7f00:0/112",
    "::ffff:0:7f00:0/112",
)  # fmt: skip


def within(networks):
    """Any address of these networks."""
    return st.sampled_from(networks).flatmap(lambda text: st.ip_addresses(network=text))


def shapes(address: ipaddress.IPv4Address) -> list[ipaddress.IPv6Address]:
    """The IPv6 addresses that reach an IPv4 one."""
    number = int(address)
    return [
        ipaddress.IPv6Address((0xFFFF << 32) | number),
        ipaddress.IPv6Address((0x64FF9B << 96) | number),
        ipaddress.IPv6Address((0x2002 << 112) | (number << 80) | 1),
    ]


@given(within(NEVER))
def test_special_addresses_are_refused_whatever_is_allowed(address):
    assert EVERYTHING.refusal(address) is not None


@pytest.mark.parametrize("text", METADATA)
def test_metadata_services_are_refused_whatever_is_allowed(text):
    address = ipaddress.ip_address(text)
    assert EVERYTHING.refusal(address) is not None
    if isinstance(address, ipaddress.IPv4Address):
        assert all(EVERYTHING.refusal(shape) is not None for shape in shapes(address))


@given(within(PRIVATE_NETWORKS))
@example(ipaddress.ip_address("100.100.100.201"))
def test_private_addresses_need_the_setting(address):
    assert PUBLIC.refusal(address) is not None
    assert LOCAL.refusal(address) is not None
    if str(address) not in METADATA and str(address) != "fd20:ce::254":
        assert PRIVATE.refusal(address) is None


@given(within(["127.0.0.0/8", "::1/128"]))
def test_loopback_needs_its_own_setting(address):
    assert PUBLIC.refusal(address) is not None
    assert PRIVATE.refusal(address) is not None
    assert LOCAL.refusal(address) is None


@given(st.ip_addresses(v=4), st.sampled_from([PUBLIC, LOCAL, PRIVATE, EVERYTHING]))
@example(ipaddress.IPv4Address("127.0.0.1"), PUBLIC)
@example(ipaddress.IPv4Address("10.0.0.1"), LOCAL)
@example(ipaddress.IPv4Address("8.8.8.8"), PUBLIC)
def test_an_address_in_disguise_is_judged_as_what_it_reaches(address, rules):
    for shape in shapes(address):
        assert rules.refusal(shape) == rules.refusal(address)


@given(st.ip_addresses())
def test_what_the_standard_library_calls_not_global_is_refused(address):
    in_disguise = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
    if not address.is_global and not in_disguise:
        assert PUBLIC.refusal(address) is not None


@pytest.mark.parametrize("text", ["1.1.1.1", "8.8.8.8", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450:4001::1"])
def test_the_public_internet_is_allowed(text):
    assert PUBLIC.refusal(ipaddress.ip_address(text)) is None


@pytest.mark.parametrize(
    "spelling",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "0", "0.0.0.0", "::1", "::", "localhost",
     "::ffff:127.0.0.1", "::ffff:7f00:1", "169.254.169.254", "2852039166", "0xa9fea9fe", "::ffff:169.254.169.254"],
)  # fmt: skip
def test_every_spelling_of_a_forbidden_address_is_refused(spelling):
    with pytest.raises(AddressRefused):
        resolve_now(spelling, 80, PUBLIC)


def test_one_forbidden_address_refuses_the_name():
    async def names(_host, _port):
        return ["93.184.215.14", "127.0.0.1"]

    with pytest.raises(AddressRefused, match=r"both\.test has the address 127\.0\.0\.1, which is this machine itself"):
        asyncio.run(resolve("both.test", 443, PUBLIC, names))


def test_a_name_without_addresses_is_unknown():
    async def names(_host, _port):
        return []

    with pytest.raises(NameUnknown):
        asyncio.run(resolve("none.test", 443, PUBLIC, names))
    for name in ("no-such-name.invalid", "a" * 64 + ".invalid", "a..b"):
        with pytest.raises(NameUnknown):
            asyncio.run(resolve(name, 443, PUBLIC))
