"""`python -m services.api`: settings, wiring, run."""

import sys

from pydantic import ValidationError

from services.api.settings import Settings
from services.api.wiring import serve, settings_sentence


def main() -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    try:
        settings = Settings()
    except ValidationError as error:
        print(settings_sentence(error), file=sys.stderr)  # noqa: T201 (before logs exist)
        return 2
    return serve(settings)


if __name__ == "__main__":
    sys.exit(main())
