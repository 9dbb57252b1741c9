"""`make check`: docs/openapi.json is what the api serves, and a valid OpenAPI document."""

from __future__ import annotations

import json

from openapi_spec_validator import OpenAPIV31SpecValidator

from services.api import openapi


def main() -> list[str]:
    """One sentence for each thing that is wrong."""
    found = openapi.drift()
    if openapi.COMMITTED.exists():
        document = json.loads(openapi.COMMITTED.read_text(encoding="utf-8"))
        found += [
            f"docs/openapi.json: {error.message[:200]}" for error in OpenAPIV31SpecValidator(document).iter_errors()
        ]
    return found
