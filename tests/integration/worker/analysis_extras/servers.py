"""Two real servers that an analysis talks to: one that speaks the OSV API, one that takes mail."""

from __future__ import annotations

import datetime as dt
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import orjson
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deploy.local.ports import free_ports

RECORDS: dict[str, dict[str, Any]] = {
    "GHSA-x84v-xcm2-53pg": {
        "aliases": ["CVE-2018-18074", "PYSEC-2018-28"],
        "summary": "Insufficiently Protected Credentials in Requests",
        "severity": [{"type": "CVSS_V3", "score": "CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"}],
        "database_specific": {"severity": "MODERATE"},
        "affected": [
            {
                "package": {"ecosystem": "PyPI", "name": "requests"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.20.0"}]}],
            }
        ],
    },
    "PYSEC-2018-28": {"aliases": ["CVE-2018-18074", "GHSA-x84v-xcm2-53pg"], "details": "The Requests package…"},
    "GHSA-jf85-cpcp-j695": {
        "aliases": ["CVE-2019-10744"],
        "summary": "Prototype Pollution in lodash",
        "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:H/A:H"}],
        "affected": [
            {
                "package": {"ecosystem": "npm", "name": "lodash"},
                "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "4.17.12"}]}],
            }
        ],
    },
    "GHSA-withdrawn-0001": {"withdrawn": "2024-01-01T00:00:00Z", "summary": "Taken back"},
    "GO-2021-0113": {"summary": "Out-of-bounds read in golang.org/x/text", "aliases": ["CVE-2021-38561"]},
}
KNOWN: dict[tuple[str, str, str], list[str]] = {
    ("PyPI", "requests", "2.19.0"): ["PYSEC-2018-28", "GHSA-x84v-xcm2-53pg"],
    ("npm", "lodash", "4.17.4"): ["GHSA-withdrawn-0001", "GHSA-jf85-cpcp-j695", "GHSA-no-details"],
    ("Go", "golang.org/x/text", "0.3.5"): ["GO-2021-0113"],
}


@dataclass
class OsvServer:
    """`POST /v1/querybatch` and `GET /v1/vulns/<id>` as osv.dev answers them, one id a page."""

    batches: list[list[dict[str, Any]]] = field(default_factory=list)

    def __enter__(self) -> OsvServer:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                queries = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
                outer.batches.append(queries)
                self._answer(
                    200 if self.path == "/v1/querybatch" else 404, {"results": [_page(one) for one in queries]}
                )

            def do_GET(self) -> None:
                record = RECORDS.get(self.path.removeprefix("/v1/vulns/"))
                identity = {"id": self.path.rpartition("/")[2], "modified": "2025-01-01T00:00:00Z"}
                self._answer(
                    200 if record else 404, identity | record if record else {"code": 5, "message": "not found"}
                )

            def _answer(self, status: int, body: object) -> None:
                data = orjson.dumps(body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _page(query: dict[str, Any]) -> dict[str, Any]:
    package = query["package"]
    ids = KNOWN.get((package["ecosystem"], package["name"], query["version"]), [])
    start = int(query.get("page_token", "0"))
    page: dict[str, Any] = {
        "vulns": [{"id": one, "modified": "2025-01-01T00:00:00Z"} for one in ids[start : start + 1]]
    }
    return (page | {"next_page_token": str(start + 1)} if len(ids) > start + 1 else page) if ids else {}


@dataclass
class Mailbox:
    """What arrived: (sender, recipients, message), and how it was talked to."""

    mails: list[tuple[str, list[str], EmailMessage]] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:
        if address.startswith("unknown"):
            return "550 no such user; the password was: oops"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        message = message_from_bytes(envelope.content, policy=policy.default)
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, message))
        return "250 OK"

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password == b"p@ss/word", handled=False)


@contextmanager
def mail_server(*, starttls: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None) -> Iterator[Mailbox]:
    """A real SMTP server; with TLS it wants a login."""
    box = Mailbox(port=free_ports(1)[0])
    secure = starttls or tls
    options: dict[str, Any] = {
        "authenticator": box.authenticate,
        "auth_required": secure is not None,
        "auth_require_tls": starttls is not None,  # smtps is TLS already, which aiosmtpd does not count
        "tls_context": starttls,
        "require_starttls": starttls is not None,
    }
    controller = Controller(box, hostname="127.0.0.1", port=box.port, ssl_context=tls, **options)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS context for 127.0.0.1, and the file that makes a client trust it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a mail server")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    trusted, private = folder / "trusted.pem", folder / "key.pem"
    trusted.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(trusted, private)
    return context, trusted
