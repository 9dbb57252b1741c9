"""Optional channels for health issues: a webhook and e-mail, both the operator's own (COMMANDCENTER_ALERTS_…).

Called by announcing.py with every issue that opened or resolved. Best effort: the topic health.alerts and the api are
where nothing is lost, so a channel that fails is logged and counted, and holds up nobody beyond its timeout.
"""

import smtplib
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

import httpx2
import orjson
from standardwebhooks import Webhook

from shared import clock
from shared.domain.health import REMEDIES
from shared.storage.issues import Issue
from shared.telemetry import metrics
from shared.telemetry.logging import get_logger

log = get_logger(__name__)

TIMEOUT = 10.0
_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
Told = Sequence[tuple[Issue, str]]
"""(issue, "opened" | "resolved")"""


class WebhookChannel:
    """POSTs one JSON document a report; signed as Standard Webhooks asks when there is a secret."""

    def __init__(self, url: str, secret: str | None) -> None:
        self._url = url
        self._signer = Webhook(secret) if secret else None

    def __call__(self, told: Told) -> None:
        """Send; a failure is logged and counted."""
        now = clock.now()
        issues = [document_of(issue, change) for issue, change in told]
        body = orjson.dumps({"type": "health.issues", "timestamp": now, "data": {"issues": issues}}).decode()
        message_id = f"health-{told[0][0].id}-{told[0][1]}"
        headers = {"Content-Type": "application/json", "webhook-id": message_id}
        if self._signer is not None:
            headers["webhook-timestamp"] = str(int(now.timestamp()))
            headers["webhook-signature"] = self._signer.sign(message_id, now, body)
        try:
            # Its status is all that is wanted: a body without an end would hold the monitor up without one.
            with httpx2.stream(
                "POST", self._url, content=body, headers=headers, timeout=TIMEOUT, trust_env=False
            ) as answer:
                answer.raise_for_status()
        except httpx2.HTTPError as error:
            _failed("webhook", f"{type(error).__name__}")  # its text may hold the address, which may hold a token


class MailChannel:
    """Sends one mail a report."""

    def __init__(self, url: str, sender: str, recipients: Sequence[str]) -> None:
        """`url`: smtp://, smtp+starttls:// or smtps://user:password@host:port, as for the worker."""
        self._parts = urlsplit(url)
        if self._parts.scheme not in _PORTS or not self._parts.hostname:
            raise ValueError("COMMANDCENTER_SMTP_URL must be smtp://, smtp+starttls:// or smtps:// and name a host")
        self._sender, self._recipients = sender, recipients

    def __call__(self, told: Told) -> None:
        """Send; a failure is logged and counted."""
        try:
            with self._connect() as server:
                server.send_message(mail_of(told, self._sender, self._recipients))
        except (OSError, smtplib.SMTPException) as error:
            _failed("mail", type(error).__name__)

    def _connect(self) -> smtplib.SMTP:
        parts = self._parts
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        server: smtplib.SMTP
        if parts.scheme == "smtps":
            server = smtplib.SMTP_SSL(host, port, timeout=TIMEOUT, context=ssl.create_default_context())
        else:
            server = smtplib.SMTP(host, port, timeout=TIMEOUT)
        if parts.scheme == "smtp+starttls":
            server.starttls(context=ssl.create_default_context())
        if parts.username:
            server.login(unquote(parts.username), unquote(parts.password or ""))
        return server


def document_of(issue: Issue, change: str) -> dict[str, object]:
    """An issue as the webhook carries it."""
    return {
        "id": issue.id,
        "change": change,
        "kind": issue.kind,
        "severity": issue.severity,
        "schedule_id": issue.schedule_id,
        "project_id": issue.project_id,
        "since": issue.since,
        "detail": issue.detail,
        "remedy": REMEDIES.get(issue.kind),
    }


def mail_of(told: Told, sender: str, recipients: Sequence[str]) -> EmailMessage:
    """The mail: what opened first, then what resolved."""
    opened = [issue for issue, change in told if change == "opened"]
    resolved = [issue for issue, change in told if change == "resolved"]
    critical = sum(issue.severity == "critical" for issue in opened)
    message = EmailMessage()
    message["From"], message["To"] = sender, ", ".join(recipients)
    message["Subject"] = f"CommandCenter: {len(opened)} issues opened ({critical} critical), {len(resolved)} resolved"
    lines = []
    for issue in opened:
        lines += [
            f"opened    [{issue.severity}] {issue.detail}",
            f"          to do: {REMEDIES.get(issue.kind, 'see docs/runbook.md')}",
        ]
    lines += [f"resolved  [{issue.severity}] {issue.detail}" for issue in resolved]
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence note answers it
    message.set_content("\n".join(lines) + "\n")
    return message


def _failed(channel: str, error: str) -> None:
    log.warning("Health issues could not be sent by %s: %s", channel, error, action="schedule_health")
    metrics.FAULTS.labels("health", f"alerts_{channel}").inc()
