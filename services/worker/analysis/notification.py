"""Mail about a finished analysis: `notify_on_completion` and `notification_emails`, through the operator's SMTP server.

Used by services/worker/tasks/analysis.py. Mail that cannot be sent is a warning in the result and never fails the run:
its findings are there. Where it goes is the operator's setting (RFC 5321, RFC 3207 for STARTTLS):
`smtp://` without TLS, `smtp+starttls://` and `smtps://` with a certificate that is checked.
"""

import smtplib
import ssl
from collections.abc import Mapping, Sequence
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from ipaddress import ip_address
from socket import gaierror
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from services.worker.settings import Settings
from services.worker.task import TaskContext
from shared import clock

_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}


class NotSent(Exception):
    """The mail did not go out. The text is one sentence without any password."""


def notify(
    context: TaskContext, result: Mapping[str, Any], recipients: Sequence[str], seconds: float
) -> tuple[int, list[str]]:
    """Send the mail; returns to how many the server took it, and warnings. No step takes longer than `seconds`."""
    if not recipients:
        return 0, ["nobody was notified: notification_emails is empty"]
    if context.settings.smtp_url is None:
        return 0, ["nobody was notified: no mail server is set (COMMANDCENTER_SMTP_URL)"]
    known, warnings = _addresses(recipients)
    if not known:
        return 0, warnings
    try:
        refused = _send(context.settings, _message(context, result, known), known, seconds)
    except NotSent as error:
        return 0, [*warnings, f"nobody was notified: {error}"]
    warnings += [f"{one} was not notified: the mail server refused the address" for one in refused]
    return len(known) - len(refused), warnings


def _addresses(recipients: Sequence[str]) -> tuple[list[str], list[str]]:
    known, warnings = [], []
    for one in dict.fromkeys(recipients):
        try:
            known.append(Address(addr_spec=one).addr_spec)
        except (ValueError, IndexError, MessageError):  # what the parser raises for what it cannot take apart
            warnings.append(f"{one} was not notified: it is no mail address")
    return known, warnings


def _message(context: TaskContext, result: Mapping[str, Any], recipients: Sequence[str]) -> EmailMessage:
    message = EmailMessage()
    message["From"] = context.settings.smtp_sender
    message["To"] = ", ".join(recipients)
    message["Subject"] = subject(result)
    message["Date"] = clock.now()
    # The same for every attempt of a job: a repeated mail is known as one.
    message["Message-ID"] = f"<job-{context.job_id}@{Address(addr_spec=context.settings.smtp_sender).domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence note answers it
    message.set_content(body(context, result))
    return message


def subject(result: Mapping[str, Any]) -> str:
    """The mail's subject, on one line."""
    compared = result["compared_with_previous"]
    news = f", {compared['new']} new" if compared else ""
    return _line(f"Analysis of {result['repository']}: {result['findings']['total']} findings{news}")


def body(context: TaskContext, result: Mapping[str, Any]) -> str:
    """The mail's text: counts only, nothing of the repository's contents."""
    findings, compared, listed = result["findings"], result["compared_with_previous"], result["dependencies"]
    lines = [
        f"The {result['analysis_type']} analysis of {_line(result['repository'])} has finished.",
        "",
        f"Schedule: {_line(context.schedule_name)} ({context.schedule_id}), job {context.job_id}",
        f"Commit: {result['commit']}" + (f" on {_line(result['branch'])}" if result["branch"] else ""),
        f"Findings: {findings['total']}"
        + "".join(f", {count} {level}" for level, count in findings["by_level"].items() if count),
    ]
    if compared:
        lines.append(
            f"Since job {compared['previous_job_id']}: "
            f"{compared['new']} new, {compared['fixed']} fixed, {compared['unchanged']} unchanged"
        )
    lines += [f"  {tool}: {count}" for tool, count in findings["by_tool"].items()]
    if listed:
        known = listed["vulnerabilities"]
        said = f"{known['total']} known vulnerabilities in {known['packages']}" if known else listed["audit"]
        lines.append(f"Dependencies: {listed['packages']} packages, {said}")
    lines += ["", "Files of the job: " + ", ".join(artifact.name for artifact in context.artifacts), ""]
    return "\n".join(lines)


def _send(settings: Settings, message: EmailMessage, recipients: Sequence[str], seconds: float) -> list[str]:
    """The refused recipients. Raises NotSent."""
    if settings.smtp_url is None:
        raise NotSent("no mail server is set (COMMANDCENTER_SMTP_URL)")
    try:
        place = urlsplit(settings.smtp_url.get_secret_value())
        port = place.port or _PORTS[place.scheme]
        host = place.hostname or ""
    except (ValueError, KeyError) as error:
        raise NotSent("COMMANDCENTER_SMTP_URL is no smtp, smtp+starttls or smtps URL") from error
    if place.username and place.scheme == "smtp" and not _on_this_machine(host):
        raise NotSent("a password is not sent without TLS: use smtps:// or smtp+starttls://")
    try:
        with _connected(place.scheme, host, port, seconds) as server:
            if place.username:
                server.login(*_credentials(place))
            return list(server.send_message(message, settings.smtp_sender, list(recipients)))
    except (OSError, ValueError) as error:  # SMTPException is an OSError; ValueError: what cannot be encoded
        raise NotSent(_sentence(error, seconds)) from error


def _connected(scheme: str, host: str, port: int, seconds: float) -> smtplib.SMTP:
    if scheme == "smtps":
        return smtplib.SMTP_SSL(host, port, timeout=seconds, context=ssl.create_default_context())
    server = smtplib.SMTP(host, port, timeout=seconds)
    if scheme == "smtp+starttls":
        try:
            server.starttls(context=ssl.create_default_context())
        except BaseException:
            server.close()
            raise
    return server


def _credentials(place: SplitResult) -> tuple[str, str]:
    return unquote(place.username or ""), unquote(place.password or "")


def _on_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _sentence(error: OSError | ValueError, seconds: float) -> str:
    """What happened, without the server's own words: they may repeat what it was told."""
    if isinstance(error, smtplib.SMTPServerDisconnected) and isinstance(error.__context__, OSError):
        error = error.__context__  # smtplib hides the time limit behind its own word
    match error:
        case smtplib.SMTPAuthenticationError():
            return "the mail server refused the user name or the password"
        case smtplib.SMTPRecipientsRefused():
            return "the mail server refused every address"
        case smtplib.SMTPResponseException():
            return f"the mail server answered {error.smtp_code}"
        case smtplib.SMTPNotSupportedError():
            return "the mail server cannot do what the setting asks for (TLS, login or UTF-8)"
        case ssl.SSLError():
            return f"TLS with the mail server failed: {error.reason or error}"
        case TimeoutError():
            return f"the mail server did not answer within {seconds:g} s"
        case gaierror():
            return "the mail server's name cannot be resolved"
        case smtplib.SMTPException() | ValueError():
            return f"the mail server and the worker did not understand each other ({type(error).__name__})"
        case _:
            return f"the mail server cannot be reached: {error.strerror or type(error).__name__}"


def _line(text: object) -> str:
    return " ".join("".join(one if one.isprintable() else " " for one in str(text)).split())[:200]
