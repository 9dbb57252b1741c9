"""Mail through a real SMTP server, and what is said when it cannot go out."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from deploy.local.ports import free_ports
from services.worker.analysis.notification import notify
from services.worker.settings import Settings
from services.worker.task import Resources, TaskContext
from tests.integration.worker.analysis_extras.servers import certificate, mail_server

RESULT: dict[str, Any] = {
    "repository": "shop\r\nBcc: everybody@example.com",
    "analysis_type": "full",
    "commit": "0123abc",
    "branch": "main",
    "findings": {"total": 3, "by_level": {"error": 1, "warning": 2, "note": 0}, "by_tool": {"bandit": 3}},
    "compared_with_previous": {"new": 1, "fixed": 2, "unchanged": 2, "previous_job_id": 8},
    "dependencies": {"packages": 4, "vulnerabilities": None, "audit": "not audited: no endpoint is set"},
}
TEAM = ["team@example.com", "ops@example.com"]


def context(url: str | None) -> TaskContext:
    settings = Settings(smtp_url=url, smtp_sender="commandcenter@example.org")
    now = datetime(2026, 3, 1, tzinfo=UTC)
    return TaskContext(9, 1, 7, "Nightly", 1, "analysis", now, "schedule", {}, now, 60.0, Resources(settings))


def test_the_team_gets_one_mail_with_counts_and_no_header_can_be_slipped_in() -> None:
    with mail_server() as box:
        assert notify(context(f"smtp://127.0.0.1:{box.port}"), RESULT, [*TEAM, TEAM[0]], 5) == (2, [])
    ((sender, recipients, mail),) = box.mails
    assert (sender, recipients) == ("commandcenter@example.org", TEAM)
    assert mail["Subject"] == "Analysis of shop Bcc: everybody@example.com: 3 findings, 1 new"
    assert mail["Message-ID"] == "<job-9@example.org>"
    assert mail["Bcc"] is None
    text = mail.get_content()
    assert "Since job 8: 1 new, 2 fixed, 2 unchanged" in text
    assert "Findings: 3, 1 error, 2 warning" in text
    assert "Dependencies: 4 packages, not audited" in text


def test_one_refused_address_does_not_keep_the_mail_from_the_others() -> None:
    with mail_server() as box:
        url = f"smtp://127.0.0.1:{box.port}"
        sent, warnings = notify(context(url), RESULT, ["unknown@example.com", "a,b@example.com", *TEAM], 5)
        assert (sent, len(box.mails)) == (2, 1)
        assert warnings == [
            "a,b@example.com was not notified: it is no mail address",
            "unknown@example.com was not notified: the mail server refused the address",
        ]
        assert notify(context(url), RESULT, ["unknown@example.com"], 5) == (
            0,
            ["nobody was notified: the mail server refused every address"],
        )


@pytest.mark.filterwarnings("ignore:Requiring AUTH")  # aiosmtpd does not see that smtps is TLS already
@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
def test_a_password_goes_only_through_tls_that_is_trusted(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls, trusted = certificate(tmp_path)
    with mail_server(tls=tls) if scheme == "smtps" else mail_server(starttls=tls) as box:
        url = f"{scheme}://commandcenter:p%40ss%2Fword@127.0.0.1:{box.port}"
        sent, (warning,) = notify(context(url), RESULT, TEAM, 5)
        assert sent == 0
        assert warning.startswith("nobody was notified: TLS with the mail server failed")
        assert box.logins == []

        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        assert notify(context(url), RESULT, TEAM, 5) == (2, [])
        assert box.logins == [("commandcenter", "p@ss/word")]

        wrong = notify(context(url.replace("word", "wort")), RESULT, TEAM, 5)
        assert wrong == (0, ["nobody was notified: the mail server refused the user name or the password"])
    assert len(box.mails) == 1


def test_what_keeps_a_mail_from_going_out_is_said_in_one_sentence_without_the_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cases = {
            None: "no mail server is set",
            f"smtp://127.0.0.1:{free_ports(1)[0]}": "cannot be reached",
            f"smtp://127.0.0.1:{silent.getsockname()[1]}": "did not answer within 0.3 s",
            "smtp://nobody.invalid": "name cannot be resolved",
            "smtp://user:hidden@mail.example.com": "a password is not sent without TLS",
            "http://user:hidden@mail.example.com": "COMMANDCENTER_SMTP_URL is no smtp",
            "smtp://user:hidden@host:a-port": "COMMANDCENTER_SMTP_URL is no smtp",
        }
        for url, sentence in cases.items():
            sent, (warning,) = notify(context(url), RESULT, TEAM, 0.3)
            assert sent == 0
            assert sentence in warning, (url, warning)
            assert "hidden" not in warning
    assert "hidden" not in repr(context("smtps://user:hidden@mail.example.com").settings)
    assert notify(context("smtp://127.0.0.1"), RESULT, [], 1) == (
        0,
        ["nobody was notified: notification_emails is empty"],
    )
