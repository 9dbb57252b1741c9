"""`make lock`: resolve every version anew and pin it by hash, Python packages and the jars of Kafka alike."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from deploy.local.jars import write_lock

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = [
    "--python-version",
    "3.11",
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-header",
    "--no-annotate",
    "--upgrade",
]


def main() -> int:
    """Write all lock files; returns the exit code."""
    uv = shutil.which("uv")
    if uv is None:
        print("make lock needs uv, which was not found: install it (pip install uv) and try again.", file=sys.stderr)
        return 1
    for lock, groups in (("requirements.lock", []), ("requirements-dev.lock", ["--group", "dev"])):
        command = [uv, "pip", "compile", *OPTIONS, "--quiet", "pyproject.toml", *groups, "-o", lock]
        if subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode != 0:
            print(f"{lock} could not be resolved; it is unchanged.", file=sys.stderr)
            return 1
    print(f"Locked the Python packages and {write_lock()} jars.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
