"""`python -m services.api`: settings, wiring, run."""

import sys

from services.api.settings import Settings
from services.api.wiring import serve


def main() -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    return serve(Settings.from_environment())


if __name__ == "__main__":
    sys.exit(main())
