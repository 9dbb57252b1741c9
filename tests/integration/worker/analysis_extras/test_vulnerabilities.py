"""The audit against a real server that speaks the OSV API, and against servers that do not."""

from __future__ import annotations

import pytest

from deploy.local.ports import free_ports
from services.worker.analysis.dependencies import Package
from services.worker.analysis.vulnerabilities import NotAudited, audit
from tests.hostile_server import HostileServer
from tests.integration.worker.analysis_extras.servers import OsvServer

REQUESTS, LODASH = Package("PyPI", "requests", "2.19.0"), Package("npm", "lodash", "4.17.4")


def test_what_the_endpoint_knows_is_found_page_by_page_and_each_thing_once() -> None:
    harmless = [Package("PyPI", f"harmless-{number}", "1.0") for number in range(1_500)]
    with OsvServer() as osv:
        told = audit(osv.url + "/", [REQUESTS, *harmless, LODASH, Package("npm", "a-range", None)], 20)
    assert told.asked == 1_502
    assert [len(batch) for batch in osv.batches] == [1_000, 1, 502, 1, 1]
    first, *others = told.found
    # Two databases know the same thing by two ids; the one with a severity speaks.
    assert (first.package, first.vulnerability_id, first.severity) == (REQUESTS, "GHSA-x84v-xcm2-53pg", "medium")
    assert (first.score, first.fixed_in) == (7.5, ("2.20.0",))
    assert [(one.vulnerability_id, one.severity, one.score) for one in others] == [
        ("GHSA-jf85-cpcp-j695", "critical", 9.1),
        ("GHSA-no-details", "unknown", None),
    ]
    assert told.without_details == 1


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/status/500", "the endpoint answered 500"),
        ("/status/200", "the endpoint's answer is no JSON"),
        ("/redirect", "the endpoint answered 302"),
        ("/close", "closed without an answer"),
        ("/garbage", "the connection failed"),
        ("/silent", "no answer within"),
        ("/drip-body", "cut off"),
    ],
)
def test_an_endpoint_that_gives_no_usable_answer_means_not_audited(path: str, sentence: str) -> None:
    with HostileServer() as server, pytest.raises(NotAudited, match=sentence):
        audit(server.url(path), [REQUESTS], 0.4)


def test_nobody_there_means_not_audited_and_nothing_to_ask_asks_nobody() -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(NotAudited, match="the connection failed"):
        audit(url, [REQUESTS], 5)
    assert audit(url, [Package("npm", "a-range", None)], 5).found == []
