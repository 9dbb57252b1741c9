"""Loaded by the schemathesis that test_openapi.py runs: every generated Idempotency-Key is used once.

Schemathesis creates an object, follows links to it and reports when it is not there. A repeat under a key of an earlier
scenario is answered as the first request was, though that scenario may have deleted the object since: rightly, yet the
tool, which knows deletions of one scenario only, calls it a finding. Repeats have their own tests
(tests/integration/api).
"""

from __future__ import annotations

import uuid
from typing import Any

import schemathesis

NAME = "Idempotency-Key"
LONGEST = 200
"""Room for what is added; longer keys, refused ones among them, stay as they were generated."""


@schemathesis.hook
def before_call(_context: Any, case: Any, **_: Any) -> None:
    """Make an acceptable key unlike all others."""
    key = (case.headers or {}).get(NAME)
    if isinstance(key, str) and key.isprintable() and 0 < len(key) <= LONGEST:
        case.headers[NAME] = f"{key}-{uuid.uuid4().hex}"
