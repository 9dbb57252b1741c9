"""A target or repository address in an odd form is judged by itself and spoils nothing else."""

from __future__ import annotations

import asyncio

from services.worker.git import judged
from services.worker.settings import Settings
from services.worker.tasks.health_check import _measure, _Probe, _tcp
from shared.net.addresses import AddressRules

LOCAL = Settings(host="127.0.0.1")


def test_a_port_that_cannot_be_is_refused_and_named() -> None:
    target = "tcp://127.0.0.1:99999"
    outcome = asyncio.run(_measure(_Probe(target, lambda: _tcp(target, AddressRules.of(LOCAL))), 5))
    assert outcome["status"] == "refused"
    assert "Port out of range" in outcome["error"]


def test_an_ipv6_address_needs_no_pin_which_curl_could_not_read() -> None:
    assert judged("https://[::1]:8443/x", LOCAL).configuration == ()
    assert judged("https://localhost:8443/x", LOCAL).configuration[1].startswith("http.curloptResolve=localhost:8443:")
