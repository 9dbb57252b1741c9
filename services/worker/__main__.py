"""Start the worker: `python -m services.worker`."""

import sys


def main() -> int:
    """Settings, wiring, run; returns the exit code."""
    # Imported here: child processes import this module's name again and need none of it.
    from services.worker.settings import Settings
    from services.worker.wiring import run

    return run(Settings.from_environment())


if __name__ == "__main__":
    sys.exit(main())
