"""`python -m services.dispatcher`: one dispatcher; several may run, one leads."""

import sys

from services.dispatcher.settings import Settings
from services.dispatcher.wiring import run


def main() -> int:
    """Run until stopped; returns the exit code."""
    return run(Settings.from_environment())


if __name__ == "__main__":
    sys.exit(main())
