"""The worker's folder for temporary files, its children's included, so that none outlives whoever was to remove it.

A killed worker removes nothing. Its successor does, whatever name it has and whichever container it runs in: the owner
of a folder holds a lock in it for as long as it lives.
"""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Self

from shared.telemetry.logging import get_logger

log = get_logger(__name__)

_PREFIX = "commandcenter-worker-"
_OWNER = "owner"


class Scratch:
    """One folder, below the system's own for temporary files."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder = folder
        self._lock = lock

    @classmethod
    def take(cls) -> Self:
        """Make this process's folder, and from now on all its temporary files in there; remove those of the dead."""
        root = Path(tempfile.gettempdir())
        for folder in root.glob(f"{_PREFIX}*"):
            if _is_left_behind(folder):
                shutil.rmtree(folder, ignore_errors=True)
                log.info(f"Removed {folder}, which a dead worker had left behind", action="worker.tidied")
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
        made = folder / f"{_OWNER}.new"
        # Python lets no program that is started inherit it. Its name comes after the lock: nobody finds it unlocked.
        lock = os.open(made, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        made.rename(folder / _OWNER)
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
        return cls(folder, lock)

    def remove(self) -> None:
        """After the last run has ended."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


def _is_left_behind(folder: Path) -> bool:
    try:
        lock = os.open(folder / _OWNER, os.O_RDWR)
    except OSError:
        return False  # just being made, or somebody else's
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False  # its owner lives
    finally:
        os.close(lock)
    return True
