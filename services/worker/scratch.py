"""The worker's folder for temporary files, its children's included, so that none outlives whoever was to remove it.

A killed worker removes nothing. Its successor does, whatever name it has, once the owner is surely dead.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Self

from services.worker.incarnation import Incarnation
from shared.telemetry.logging import get_logger

log = get_logger(__name__)

_PREFIX = "commandcenter-worker-"
_OWNER = "owner"


class Scratch:
    """One folder, below the system's own for temporary files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def take(cls, me: Incarnation) -> Self:
        """Make this process's folder, and from now on all its temporary files in there; remove those of the dead."""
        root = Path(tempfile.gettempdir())
        for folder in root.glob(f"{_PREFIX}*"):
            if _is_left_behind(folder):
                shutil.rmtree(folder, ignore_errors=True)
                log.info(f"Removed {folder}, which a dead worker had left behind", action="worker.tidied")
        made = cls(Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root)))
        (made.folder / _OWNER).write_text(str(me), encoding="utf-8")
        tempfile.tempdir = os.environ["TMPDIR"] = str(made.folder)
        return made

    def remove(self) -> None:
        """After the last run has ended."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _is_left_behind(folder: Path) -> bool:
    try:
        owner = Incarnation.parse((folder / _OWNER).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return False  # just being made, or somebody else's
    return owner is not None and owner.is_surely_dead()
