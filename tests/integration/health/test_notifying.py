"""Health issues by webhook and by mail, to real receivers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from prometheus_client import REGISTRY
from standardwebhooks import Webhook

from deploy.local.ports import free_ports
from services.health import notifying
from services.health.notifying import MailChannel, WebhookChannel
from shared import clock
from shared.storage.issues import Issue
from shared.webhook_secrets import new_secret

AT = datetime(2025, 10, 12, 15, 0, tzinfo=UTC)
STALE = Issue("i-1", "stale", "warning", 7, 1, AT, "Nightly: no execution since 2025-10-01", AT)
LEADER = Issue("i-2", "no_leader", "critical", None, None, AT, "no dispatcher holds the lease", AT, AT)
TOLD = [(STALE, "opened"), (LEADER, "resolved")]


class Receiver:
    """Takes POSTs and answers with a status."""

    def __init__(self) -> None:
        self.status = 204
        self.endless = False
        self.got: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(receiver.status)
                self.end_headers()
                with suppress(OSError):  # until the other side hangs up
                    while receiver.endless:
                        self.wfile.write(b"more ")

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Silent."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/alerts?token=hush"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    started = Receiver()
    yield started
    started.server.shutdown()
    started.server.server_close()


def faults(kind: str) -> float:
    return REGISTRY.get_sample_value("commandcenter_faults_total", {"service": "health", "kind": kind}) or 0.0


def test_the_webhook_is_signed_and_names_every_change(receiver: Receiver) -> None:
    secret = new_secret()
    WebhookChannel(receiver.url, secret)(TOLD)
    ((headers, body),) = receiver.got
    verified: Any = Webhook(secret).verify(body.decode(), headers)
    assert verified == json.loads(body)
    assert [(one["change"], one["kind"], one["schedule_id"]) for one in verified["data"]["issues"]] == [
        ("opened", "stale", 7),
        ("resolved", "no_leader", None),
    ]
    assert "docs/runbook.md#noleader" in verified["data"]["issues"][1]["remedy"]


def test_a_receiver_that_fails_holds_up_nobody_and_its_address_stays_out_of_the_log(
    receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    before = faults("alerts_webhook")
    receiver.status = 500
    WebhookChannel(receiver.url, None)(TOLD)
    WebhookChannel("http://127.0.0.1:1/", None)(TOLD)
    assert faults("alerts_webhook") == before + 2
    assert "hush" not in capsys.readouterr().out


def test_endpoints_that_hang_are_given_up(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifying, "TIMEOUT", 0.3)
    receiver.endless = True
    before = faults("alerts_webhook"), faults("alerts_mail")
    began = clock.monotonic()
    WebhookChannel(receiver.url, None)(TOLD)
    assert faults("alerts_webhook") == before[0], "its status is all that is asked for"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        WebhookChannel(f"http://127.0.0.1:{port}/", None)(TOLD)
        MailChannel(f"smtp://127.0.0.1:{port}", "a@example.org", ["ops@example.org"])(TOLD)
    assert (faults("alerts_webhook"), faults("alerts_mail")) == (before[0] + 1, before[1] + 1)
    assert clock.monotonic() - began < 5


class Mailbox:
    def __init__(self) -> None:
        self.got: list[tuple[list[str], str]] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self.got.append((envelope.rcpt_tos, envelope.content.decode()))
        return "250 taken"


def test_the_mail_says_what_opened_and_what_resolved() -> None:
    mailbox = Mailbox()
    (port,) = free_ports(1)
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        MailChannel(f"smtp://127.0.0.1:{port}", "commandcenter@example.org", ["ops@example.org"])(TOLD)
    finally:
        controller.stop()
    ((recipients, content),) = mailbox.got
    assert recipients == ["ops@example.org"]
    assert "Subject: CommandCenter: 1 issues opened (0 critical), 1 resolved" in content
    assert "[warning] Nightly: no execution since 2025-10-01" in content
    assert "to do: see whether its occurrences are skipped" in content
    before = faults("alerts_mail")
    MailChannel(f"smtp://127.0.0.1:{port}", "commandcenter@example.org", ["ops@example.org"])(TOLD)
    assert faults("alerts_mail") == before + 1


def test_an_address_that_is_none_is_refused_at_start() -> None:
    with pytest.raises(ValueError, match="COMMANDCENTER_SMTP_URL"):
        MailChannel("mail.example.org", "a@example.org", ["b@example.org"])
