"""`python -m services.health`: records outcomes, judges schedules, keeps house."""

import sys

from services.health.settings import Settings
from services.health.wiring import Service


def main() -> int:
    """Run until told to stop; the exit code tells a supervisor whether to worry."""
    return Service(Settings.from_environment()).run()


if __name__ == "__main__":
    sys.exit(main())
