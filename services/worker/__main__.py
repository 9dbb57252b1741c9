"""Start the worker: `python -m services.worker`."""

import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Settings, wiring, run."""
    # Imported here: child processes import this module's name again and need none of it.
    from services.worker.settings import Settings
    from services.worker.wiring import run

    code = run(Settings.from_environment())
    sys.stdout.flush()
    os._exit(code)  # a thread that a handler has left behind must not keep a stopped worker alive


if __name__ == "__main__":
    main()
