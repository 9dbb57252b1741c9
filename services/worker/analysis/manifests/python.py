"""Python: requirements files (pip), pyproject.toml (PEP 621, PEP 735, Poetry), poetry.lock, uv.lock, Pipfile.lock."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from typing import Any

import orjson
from packaging.requirements import InvalidRequirement, Requirement

from services.worker.analysis.manifests.named import Lines, Named, text_or_none

_OPTIONS = re.compile(r"\s--?[A-Za-z][^\n]*$|\s+#.*$")
_NOT_FROM_AN_INDEX = {"directory", "editable", "virtual", "path"}


def requirements(text: str) -> Iterator[Named]:
    """A requirements or constraints file; `-r`, `-e` and other options are left to the files they name."""
    for number, line in _joined(text):
        wanted = _OPTIONS.sub("", line).strip()
        if wanted and not wanted.startswith(("-", "#")) and (named := _wanted(wanted, number)) is not None:
            yield named


def pyproject(text: str) -> Iterator[Named]:
    """The dependencies that pyproject.toml asks for; mostly ranges."""
    document, lines = tomllib.loads(text), Lines(text)
    project = document.get("project", {})
    asked: list[Any] = list(project.get("dependencies", ()))
    for group in (*project.get("optional-dependencies", {}).values(), *document.get("dependency-groups", {}).values()):
        asked.extend(group)
    for one in asked:
        if isinstance(one, str) and (named := _wanted(one, lines.number(f'"{one}"', f"'{one}'"))) is not None:
            yield named
    poetry = document.get("tool", {}).get("poetry", {})
    tables = [poetry.get("dependencies", {}), poetry.get("dev-dependencies", {})]
    tables += [group.get("dependencies", {}) for group in poetry.get("group", {}).values()]
    for table in tables:
        for name, value in table.items():
            if name.lower() != "python":
                exact = value if isinstance(value, str) and re.fullmatch(r"==?\s*[0-9][\w.!+-]*", value) else None
                yield Named(_normal(name), exact.lstrip("= ") if exact else None, lines.number(f'{name} = "{value}"'))


def toml_lock(text: str) -> Iterator[Named]:
    """poetry.lock and uv.lock: `[[package]]` tables. The project itself and local folders are no dependencies."""
    lines = Lines(text)
    for package in tomllib.loads(text).get("package", ()):
        source = package.get("source", {})
        kinds = {source["type"]} if isinstance(source.get("type"), str) else set(source)
        if not kinds & _NOT_FROM_AN_INDEX:
            name = package["name"]
            yield Named(_normal(name), text_or_none(package.get("version")), lines.number(f'name = "{name}"'))


def pipfile_lock(text: str) -> Iterator[Named]:
    """Pipfile.lock: `default` and `develop`."""
    document, lines = orjson.loads(text), Lines(text)
    for section in ("default", "develop"):
        for name, entry in document.get(section, {}).items():
            version = text_or_none(entry.get("version"))
            yield Named(_normal(name), version and version.removeprefix("=="), lines.number(f'"{name}": {{'))


def _joined(text: str) -> Iterable[tuple[int, str]]:
    """Logical lines with the number of their first one: a backslash continues a line."""
    start, parts = 0, list[str]()
    for number, line in enumerate(text.splitlines(), start=1):
        start = start or number
        parts.append(line.removesuffix("\\"))
        if not line.endswith("\\"):
            yield start, " ".join(parts)
            start, parts = 0, []
    if parts:
        yield start, " ".join(parts)


def _wanted(text: str, line: int) -> Named | None:
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return None  # a URL or a path without a name: nothing that an inventory could name
    exact = [one.version for one in requirement.specifier if one.operator in {"==", "==="} and "*" not in one.version]
    return Named(_normal(requirement.name), exact[0] if len(exact) == 1 else None, line)


def _normal(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()
