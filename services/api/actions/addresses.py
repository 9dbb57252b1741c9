"""Which URLs may be stored for repositories and webhooks (DESIGN section 10).

Here a URL is judged by its text alone; whoever connects later resolves the name once and judges that address again.
"""

import ipaddress
import re
from urllib.parse import urlsplit

from services.api.settings import Settings
from shared.net.addresses import AddressRules

_SCP = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._-]*@([A-Za-z0-9.-]+):(?!//)[^\s:-]\S*")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?\.?")


def repository_problem(url: str, settings: Settings) -> str | None:
    """What is wrong with a repository's URL, if anything. services/worker/git.py takes what passes here."""
    if url.startswith("-") or "::" in url.partition("[")[0] or not url.isprintable() or url != url.strip():
        return "options, remote helpers (ext::) and control characters are not allowed"
    if url.startswith(("/", "./", "../", "file:")):
        if settings.local_repositories and url.startswith(("/", "file:///")):
            return None
        return "local paths are not allowed here (COMMANDCENTER_ALLOW_LOCAL_REPOSITORIES), or are not absolute"
    found = _SCP.fullmatch(url)
    if found:
        return _host_problem(found.group(1), settings)
    return _url_problem(url, ("https", "ssh"), settings)


def webhook_problem(url: str, settings: Settings) -> str | None:
    """What is wrong with a webhook's URL, if anything. Plain http only where loopback is allowed."""
    if not url.isprintable() or url != url.strip():
        return "control characters and blanks are not allowed"
    return _url_problem(url, ("https", "http") if settings.loopback_addresses else ("https",), settings)


def _url_problem(url: str, schemes: tuple[str, ...], settings: Settings) -> str | None:
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        return "this is no URL"
    if parts.scheme not in schemes:
        return f"a URL with {', '.join(schemes)} is needed"
    if not host:
        return "the URL names no host"
    if (parts.username or "").startswith("-"):
        return "options are not allowed"
    if parts.password is not None:
        return "a URL must not carry a password"
    if parts.username and parts.scheme != "ssh":
        return "a URL must not carry a user: tokens stand there, and URLs are shown, published and logged"
    if " " in url or "\\" in url:
        return "this is no URL"
    return _host_problem(host, settings)


def _host_problem(host: str, settings: Settings) -> str | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        if not _HOST.fullmatch(host):
            return f"{host[:100]} is no host name"
        if host.lower().rstrip(".") == "localhost" and not settings.loopback_addresses:
            return "localhost is this machine itself: that is not allowed here (COMMANDCENTER_ALLOW_LOOPBACK)"
        # Numbers in other notations (0x7f.1, 2130706433) are addresses to a resolver.
        if re.fullmatch(r"(0x[0-9a-fA-F]*|\d+)(\.(0x[0-9a-fA-F]*|\d+))*\.?", host):
            return f"{host[:100]} is no host name"
        return None
    refused = AddressRules.of(settings).refusal(address)
    return None if refused is None else f"{address} {refused}: that is not allowed here"
