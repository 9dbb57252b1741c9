"""Makes the virtual environment from a lock with hashes. Run by make, with the system's Python: standard library only.

`bootstrap.py runtime|dev`. A stamp keyed by the lock's content makes every later call instant.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCKS = {"runtime": ROOT / "requirements.lock", "dev": ROOT / "requirements-dev.lock"}


def main(kind: str, environment: Path = ROOT / ".venv") -> int:
    """Bring the environment up to that lock; returns the exit code."""
    # The development lock holds every runtime package too, at the same versions.
    satisfied_by = ("runtime", "dev") if kind == "runtime" else ("dev",)
    if any(_stamp(environment, lock).exists() for lock in satisfied_by):
        return 0
    try:
        environment.mkdir(exist_ok=True)
        with (environment / ".lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)  # two makes at once: the second one waits, then has nothing to do
            return 0 if _stamp(environment, kind).exists() else _install(kind, environment)
    except OSError as error:
        return _fail(
            f"{environment} cannot be written ({error.strerror or error}): free space or permissions are missing."
        )
    except KeyboardInterrupt:
        return _fail("Interrupted; the next make goes on from here.", 130)


def _stamp(environment: Path, kind: str) -> Path:
    """Present once everything of that lock is installed."""
    return environment / f".{kind}-{hashlib.sha256(LOCKS[kind].read_bytes()).hexdigest()[:16]}"


def _install(kind: str, environment: Path) -> int:
    lock = LOCKS[kind]
    count = len(re.findall(r"^[a-zA-Z0-9]", lock.read_text(encoding="utf-8"), flags=re.MULTILINE))
    python = environment / "bin" / "python"
    started = time.monotonic()
    if not python.exists():
        _say("Creating the virtual environment .venv …")
        made = _run([sys.executable, "-m", "venv", str(environment)])
        if made.returncode != 0:
            return _fail(
                f"The virtual environment could not be made ({_last(made.stdout)}): "
                "install Python's venv module (Debian: python3.11-venv) and try again."
            )
    _say(f"Installing {count} packages pinned in {lock.name} (a few hundred MB the first time, about a minute) …")
    # PYTHONDONTWRITEBYTECODE would leave every later start to compile 150 packages anew.
    settings = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    arguments = ["install", "--require-hashes", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    with subprocess.Popen(
        [str(python), "-m", "pip", *arguments, "-r", str(lock)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=settings,
    ) as pip:
        last, seen = "", 0
        for line in pip.stdout or ():
            last = line.strip() or last
            if line.startswith(("Collecting ", "Requirement already satisfied")):
                seen += 1
                if seen % 20 == 0:
                    _say(f"  {seen}/{count} packages found and downloaded")
            elif line.startswith("Installing collected"):
                _say("  all downloaded, unpacking …")
            elif line.startswith("ERROR"):
                last = line.strip()
                break
        rest = (pip.stdout.read() if pip.stdout else "").strip()
    if pip.returncode != 0:
        detail = last.removeprefix("ERROR: ") + (" " + rest.splitlines()[-1] if rest else "")
        return _fail(
            f"pip could not install {lock.name} ({detail[:300]}): check the package index and free disk space."
        )
    for old in environment.glob(f".{kind}-*"):
        old.unlink()
    _stamp(environment, kind).touch()
    _say(f"Installed in {time.monotonic() - started:.0f} s.")
    return 0


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def _say(text: str) -> None:
    print(text, flush=True)


def _fail(sentence: str, code: int = 1) -> int:
    print(sentence, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
