"""Requests against a real server on loopback that does everything to hold, flood or lead its client astray."""

import asyncio
import datetime as dt
import ssl
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shared.net.addresses import AddressRefused, AddressRules
from shared.net.pinned_http import Answer, RequestFailed, RequestRefused, parsed, request
from tests.hostile_server import HostileServer

LOCAL = AddressRules(allow_loopback=True)


@pytest.fixture(scope="module")
def server():
    with HostileServer() as running:
        yield running


def ask(url: str, *, rules: AddressRules = LOCAL, method: str = "GET", timeout_seconds: float = 0.5, **more) -> Answer:
    return asyncio.run(request(method, url, rules, timeout_seconds=timeout_seconds, **more))


def test_a_plain_answer(server):
    answer = ask(server.url("/status/201?X-Colour: blue".replace(" ", "%20")))
    assert (answer.status, answer.body, answer.complete, answer.address) == (201, b"answer", True, "127.0.0.1")
    sent = server.received[-1]
    assert (sent.method, sent.headers["host"]) == ("GET", f"127.0.0.1:{server.port}")


def test_a_redirect_is_an_answer_and_is_not_followed(server):
    before = server.connections
    answer = ask(server.url("/redirect/"))
    assert (answer.status, answer.headers["location"]) == (302, "http://169.254.169.254/latest/meta-data/")
    assert server.connections == before + 1


def test_the_environments_proxy_is_not_asked(server, monkeypatch):
    with HostileServer() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert ask(server.url("/status/200")).status == 200
        assert proxy.connections == 0


def test_an_endless_body_is_cut_at_the_limit(server):
    answer = ask(server.url("/endless/"), body_limit=1_000, timeout_seconds=10)
    assert (answer.status, len(answer.body), answer.complete) == (200, 1_000, False)
    assert server.bytes_taken < 8 << 20  # what the kernel's buffers took, no more


@pytest.mark.parametrize("path", ["/drip-body/", "/endless-then-nothing/"])
def test_a_body_that_drips_is_cut_at_the_deadline_and_the_status_counts(server, path):
    started = time.monotonic()
    answer = ask(server.url(path))
    assert 0.4 < time.monotonic() - started < 2
    assert (answer.status, answer.complete) == (200, False)


@pytest.mark.parametrize("path", ["/silent/", "/drip-headers/"])
def test_no_answer_within_the_time_is_a_failure(server, path):
    started = time.monotonic()
    with pytest.raises(RequestFailed, match=r"no answer within 0\.5 s"):
        ask(server.url(path))
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("path", ["/huge-headers/", "/one-huge-header/", "/interim/", "/garbage/", "/close/"])
def test_what_is_no_answer_is_a_failure(server, path):
    with pytest.raises(RequestFailed, match=r"is no HTTP|without an answer|but interim|connection failed"):
        ask(server.url(path), timeout_seconds=10)


def test_a_body_that_breaks_the_protocol_leaves_the_status(server):
    answer = ask(server.url("/huge-chunk-head/"), timeout_seconds=10)
    assert (answer.status, answer.body, answer.complete) == (200, b"", False)


def test_a_closed_port_is_a_failure(server):
    with HostileServer() as gone:
        url = gone.url("/")
    with pytest.raises(RequestFailed, match=r"the connection failed: Connection refused$"):
        ask(url)


def test_a_second_answer_of_the_dns_changes_nothing(server):
    """DNS rebinding: the first answer is harmless, every later one names the trap."""
    asked = []

    async def names(host, port):
        asked.append((host, port))
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    with HostileServer(host="127.0.0.2", port=server.port) as trap:
        answer = ask(server.url("/status/200", host="rebinding.test"), names=names)
        assert (answer.status, answer.address, trap.connections) == (200, "127.0.0.1", 0)
    assert asked == [("rebinding.test", server.port)]
    assert server.received[-1].headers["host"] == f"rebinding.test:{server.port}"


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1"])
def test_a_name_that_leads_here_is_refused_before_anything_is_sent(server, address):
    async def names(_host, _port):
        return [address]

    before = server.connections
    with pytest.raises(AddressRefused):
        ask(server.url("/status/200", host="innocent.test"), rules=AddressRules(allow_private=True), names=names)
    assert server.connections == before


def test_the_next_address_is_tried_when_one_does_not_answer(server):
    async def names(_host, _port):
        return ["127.0.0.3", "127.0.0.1"]

    assert ask(server.url("/status/200", host="two.test"), names=names).address == "127.0.0.1"


def test_a_dead_name_server_is_cut_by_the_deadline():
    async def names(_host, _port):
        await asyncio.sleep(60)
        return []

    started = time.monotonic()
    with pytest.raises(RequestFailed, match="no answer within"):
        ask("http://slow.test/", names=names)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "url",
    ["ftp://a.test/", "file:///etc/passwd", "http://user:word@a.test/", "http://a@b.test/", "http:///x", "http://",
     "gopher://a.test", "http://a.test:0/", "http://a.test:99999/", "http://a.test:x/", "http://[::1", "a.test",
     "http://a b.test/", "http://a.test\\@b.test/", "http://" + "a" * 300 + "/", "http://ex%41mple.test/"],
)  # fmt: skip
def test_what_is_not_requested(url):
    with pytest.raises(RequestRefused):
        ask(url)


def test_a_url_cannot_smuggle_a_header(server):
    answer = ask(server.url("/status/200?X-A: b\r\nX-Evil: 1\r\n\r\nGET /"))
    assert answer.status == 200
    assert "x-evil" not in server.received[-1].headers
    with pytest.raises(RequestRefused):
        ask(server.url("/status/200"), headers={"X-A": "b\r\nX-Evil: 1"})


def test_international_urls():
    place = parsed("https://bücher.test/straße?q=ü&r=%20")
    assert (place.host, place.port, place.target) == ("xn--bcher-kva.test", 443, "/stra%C3%9Fe?q=%C3%BC&r=%20")
    assert parsed("http://[2001:db8::1]:8080/").authority == "[2001:db8::1]:8080"


def certificate(name: str, folder) -> ssl.SSLContext:
    """A server's context with a certificate of its own for `name`, in `folder`/cert.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False).sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def test_tls_is_verified_for_the_name_though_the_address_is_pinned(tmp_path):
    context = certificate("hooks.test", tmp_path)
    greeted = []
    context.sni_callback = lambda _socket, name, _context: greeted.append(name)
    trust = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))

    async def names(_host, _port):
        return ["127.0.0.1"]

    with HostileServer(tls=context) as secure:
        answer = ask(secure.url("/status/200", host="hooks.test"), names=names, tls=trust, timeout_seconds=5)
        assert (answer.status, answer.address, greeted) == (200, "127.0.0.1", ["hooks.test"])
        with pytest.raises(RequestFailed, match="TLS failed"):  # another name, the same certificate
            ask(secure.url("/status/200", host="other.test"), names=names, tls=trust, timeout_seconds=5)
        with pytest.raises(RequestFailed, match="TLS failed"):  # the system does not trust it
            ask(secure.url("/status/200", host="hooks.test"), names=names, timeout_seconds=5)
        assert len(secure.received) == 1
