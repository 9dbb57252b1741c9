"""`make prometheus`: brings promtool and Prometheus, for the tests of alerts and boards.

Those on PATH are used where there are any. Otherwise the package of Debian or Ubuntu is downloaded by apt and unpacked
into the cache: nothing is installed, no daemon starts, and no root is needed. Run by .ci/run too.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.local.settings import read_settings

PACKAGE = "prometheus"
PROGRAMS = ("promtool", "prometheus")


def find(program: str) -> str | None:
    """Where promtool or prometheus is, or None."""
    unpacked = _place() / program
    return shutil.which(program) or (str(unpacked) if unpacked.exists() else None)


def main() -> int:
    """Bring what is missing; returns the exit code."""
    if all(find(program) for program in PROGRAMS):
        return 0
    missing = [command for command in ("apt-get", "dpkg-deb") if shutil.which(command) is None]
    if missing:
        return _fail(f"{' and '.join(missing)} is missing here: install Prometheus yourself, it is looked for on PATH.")
    place = _place()
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        folder = Path(scratch)
        failure = _download(folder)
        if failure is not None:
            return _fail(f"apt cannot download the package {PACKAGE}: {failure}")
        (package,) = folder.glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", str(package), str(folder / "unpacked")], check=True)
        for program in PROGRAMS:
            (folder / "unpacked" / "usr" / "bin" / program).replace(place / program)
    print(f"promtool and Prometheus are in {place}.")
    return 0


def _place() -> Path:
    return read_settings().cache / "prometheus"


def _download(folder: Path) -> str | None:
    """The package into the folder: by the machine's own lists, or, where it has none, by lists of our own."""
    failure = _apt(folder, "download", PACKAGE)
    if failure is None:
        return None
    (folder / "lists").mkdir()
    (folder / "archives").mkdir()
    own = ("-o", f"Dir::State::lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'archives'}")
    return _apt(folder, *own, "update") or _apt(folder, *own, "download", PACKAGE)


def _apt(folder: Path, *arguments: str) -> str | None:
    """Run apt-get there; None when it went well, else its last words. As root it need not change to another user."""
    command = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"


def _fail(sentence: str) -> int:
    print(f"make prometheus: {sentence}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
