"""If-Match: an edit of what somebody else has changed meanwhile is refused (RFC 9110 section 13.1.1)."""

import re

from fastapi import Request

from services.api.problems import Problem

_TAG = re.compile(r'(W/)?"([^"]*)"')


def check_version(request: Request, version: int) -> None:
    """Raises Problem 412 unless the request names this version, or none. Weak tags never match."""
    header = ", ".join(request.headers.getlist("if-match"))
    if not header or header.strip() == "*":
        return
    tags = {value for weak, value in _TAG.findall(header) if not weak}
    if str(version) not in tags:
        raise Problem(412, f"It has changed meanwhile: its version is {version}.", headers={"ETag": f'"{version}"'})
