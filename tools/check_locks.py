"""Lock files: every package and jar by its hash, no address of any registry in them, and every requirement locked."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON_LOCKS = ("requirements.lock", "requirements-dev.lock")
JAR = re.compile(r"[\w.\-]+:[\w.\-]+:[\w.\-]+ sha256:[0-9a-f]{64}")


def main() -> list[str]:
    """One sentence per lock that is not as it should be."""
    return [*_addresses(), *_jars(), *_unlocked()]


def _addresses() -> list[str]:
    locks = [*PYTHON_LOCKS, "deploy/local/kafka.lock"]
    return [f"{lock} holds an address" for lock in locks if "://" in (ROOT / lock).read_text(encoding="utf-8")]


def _jars() -> list[str]:
    lines = (ROOT / "deploy/local/kafka.lock").read_text(encoding="utf-8").splitlines()
    wrong = [line for line in lines if not line.startswith("#") and not JAR.fullmatch(line)]
    return [f"deploy/local/kafka.lock: not a pinned jar: {line}" for line in wrong]


def _unlocked() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = {
        "requirements.lock": project["project"]["dependencies"],
        "requirements-dev.lock": [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]],
    }
    problems = []
    for lock, requirements in wanted.items():
        pinned = set(re.findall(r"^([\w.\-]+)==", (ROOT / lock).read_text(encoding="utf-8"), flags=re.MULTILINE))
        missing = {_name(requirement) for requirement in requirements} - {_normal(name) for name in pinned}
        problems += [f"{lock} does not pin {name}: run `make lock`" for name in sorted(missing)]
    return problems


def _name(requirement: str) -> str:
    return _normal(re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
