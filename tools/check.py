"""`make check`: format, lint, types, imports and every `tools/check_*.py`, all of them even when one fails.

A check module has `main() -> list[str]`: one sentence per thing that is wrong, none when all is well.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TYPED = ("services", "shared", "migrations", "deploy", "benchmarks", "tools", "tests")
BIN = Path(sys.executable).parent
COMMANDS = {
    "format": ["ruff", "format", "--check", "--output-format", "concise", "."],
    "lint": ["ruff", "check", "--quiet", "--output-format", "concise", "."],
    "imports": ["lint-imports", "--no-logo"],
    "types": ["mypy", *(folder for folder in TYPED if (ROOT / folder).exists())],
}


def main() -> int:
    """Run every check; returns the exit code."""
    checks: dict[str, Callable[[], list[str]]] = {name: _command(command) for name, command in COMMANDS.items()}
    for path in sorted(Path(__file__).parent.glob("check_*.py")):
        checks[path.stem.removeprefix("check_")] = importlib.import_module(f"tools.{path.stem}").main
    failed = [name for name, check in checks.items() if not _passes(name, check)]
    if failed:
        print(f"make check: {', '.join(failed)} failed.", file=sys.stderr)
    return 1 if failed else 0


def _passes(name: str, check: Callable[[], list[str]]) -> bool:
    started = time.monotonic()
    problems = check()
    print(f"{'ok  ' if not problems else 'FAIL'} {name:<12} {time.monotonic() - started:5.1f} s", flush=True)
    for problem in problems:
        print(f"     {problem}", flush=True)
    return not problems


def _command(command: list[str]) -> Callable[[], list[str]]:
    def run() -> list[str]:
        program, *arguments = command
        result = subprocess.run([BIN / program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        if result.returncode == 0:
            return []
        return [line for line in (result.stdout + result.stderr).splitlines() if line.strip()]

    return run


if __name__ == "__main__":
    sys.exit(main())
