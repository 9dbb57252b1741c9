"""How the command line asks the services whether they are ready."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http.client import HTTPResponse

# Never through a proxy named in the environment: these are our own processes on this machine.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def open_url(url: str | urllib.request.Request, timeout: float = 2.0) -> HTTPResponse:
    """Ask one of our own processes. Raises what urllib raises."""
    answer: HTTPResponse = _opener.open(url, timeout=timeout)
    return answer


def readiness(url: str, timeout: float = 2.0) -> tuple[bool, str]:
    """Whether `/readyz` under that URL answers 200, and what it said otherwise, on one line."""
    try:
        with open_url(f"{url}/readyz", timeout) as answer:
            return answer.status == 200, ""
    except urllib.error.HTTPError as error:
        with error:
            return False, _lacking(error.read(2_000)) or f"it answers {error.code}"
    except (OSError, ValueError) as error:
        return False, f"no answer ({getattr(error, 'reason', error)})"


def _lacking(body: bytes) -> str:
    """The checks that fail, each with its sentence; what is no such answer is shown as it is."""
    text = body.decode(errors="replace")
    try:
        checks = json.loads(text)["checks"].items()
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    else:
        text = "; ".join(f"{name}: {said}" for name, said in checks if said != "ok")
    return " ".join(text.split())[:300]
