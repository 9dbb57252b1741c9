"""What a repository depends on: the inventory that the analysis task makes with `include_dependencies`.

Called by services/worker/analysis/supply_chain.py. Manifests and lock files are read, never executed or resolved: a
repository without lock file has packages without version.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from packageurl import PackageURL

from services.worker.analysis.manifests import golang, java, javascript, python, rust
from services.worker.analysis.manifests.named import Named, Reader

FILE_LIMIT = 32 << 20
PACKAGE_LIMIT = 20_000
_NAME_LIMIT = 300
_FOREIGN = frozenset({"node_modules", "site-packages", ".venv", "venv", "vendor"})
"""Folders of copies: what they hold is in the repository's own lock file, if it is used."""

PYPI, NPM, GO, CRATES, MAVEN = "PyPI", "npm", "Go", "crates.io", "Maven"
"""Ecosystems by the names of the OSV schema."""
_PURL_TYPES = {PYPI: "pypi", NPM: "npm", GO: "golang", CRATES: "cargo", MAVEN: "maven"}
_READERS: Mapping[str, tuple[str, Reader]] = {
    "pyproject.toml": (PYPI, python.pyproject),
    "poetry.lock": (PYPI, python.toml_lock),
    "uv.lock": (PYPI, python.toml_lock),
    "Pipfile.lock": (PYPI, python.pipfile_lock),
    "package.json": (NPM, javascript.package_json),
    "package-lock.json": (NPM, javascript.package_lock),
    "npm-shrinkwrap.json": (NPM, javascript.package_lock),
    "yarn.lock": (NPM, javascript.yarn_lock),
    "go.mod": (GO, golang.go_mod),
    "Cargo.toml": (CRATES, rust.cargo_toml),
    "Cargo.lock": (CRATES, rust.cargo_lock),
    "pom.xml": (MAVEN, java.pom),
}


@dataclass(frozen=True, slots=True)
class Package:
    """One package in one version; `version` is None where no file gives an exact one."""

    ecosystem: str
    name: str
    version: str | None
    places: list[tuple[str, int]] = field(default_factory=list, compare=False)
    """Every file and line that names it."""

    @property
    def purl(self) -> str:
        """Its package URL (the purl specification of ECMA-427)."""
        namespace, name = None, self.name
        if self.ecosystem == MAVEN:
            namespace, _, name = self.name.partition(":")
        elif self.ecosystem in {NPM, GO}:
            namespace, _, name = self.name.rpartition("/")
        version = f"v{self.version}" if self.version and self.ecosystem == GO else self.version
        return PackageURL(_PURL_TYPES[self.ecosystem], namespace or None, name, version).to_string()


@dataclass(slots=True)
class Inventory:
    """Every package by what identifies it, and how complete that is."""

    packages: list[Package]
    files: Counter[str]
    """Files read, with how many packages each names."""
    unread: dict[str, str]
    """Files that could not be read, with the reason."""


def inventory(folder: Path, files: Sequence[Path]) -> Inventory:
    """Read every manifest and lock file among `files`, all of them under `folder`."""
    found: dict[Package, Package] = {}
    counts: Counter[str] = Counter()
    unread: dict[str, str] = {}
    for file in files:
        path = file.relative_to(folder)
        known = _reader(PurePosixPath(path.as_posix()))
        if known is None:
            continue
        ecosystem, reader = known
        try:
            named = _read(file, reader)
        except (ValueError, SyntaxError, RecursionError, KeyError, TypeError, AttributeError) as error:
            # The boundary of foreign files: a lock file of another shape must not cost the others' packages.
            unread[path.as_posix()] = f"it cannot be read as {file.name}: {type(error).__name__}"
            continue
        for one in named:
            package = Package(ecosystem, one.name, one.version)
            if package not in found and len(found) >= PACKAGE_LIMIT:
                unread[path.as_posix()] = f"only the first {PACKAGE_LIMIT} packages are listed"
                break
            found.setdefault(package, package).places.append((path.as_posix(), one.line))
            counts[path.as_posix()] += 1
    return Inventory(_without_shadows(list(found)), counts, unread)


def _reader(path: PurePosixPath) -> tuple[str, Reader] | None:
    if _FOREIGN.intersection(path.parts[:-1]):
        return None
    if "requirements" in path.stem and path.suffix in {".txt", ".lock", ".in"}:
        return PYPI, python.requirements
    if path.parent.name == "requirements" and path.suffix in {".txt", ".in"}:
        return PYPI, python.requirements
    return _READERS.get(path.name)


def _read(file: Path, reader: Reader) -> list[Named]:
    size = file.stat().st_size
    if size > FILE_LIMIT:
        raise ValueError(f"{size} bytes are too many")
    text = file.read_text(encoding="utf-8-sig", errors="replace")
    return [one for one in reader(text) if _usable(one.name) and (one.version is None or _usable(one.version))]


def _usable(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text) <= _NAME_LIMIT and text.isprintable() and " " not in text


def _without_shadows(packages: list[Package]) -> list[Package]:
    """Without the ranges of manifests whose lock file gives the version."""
    exact = {(one.ecosystem, one.name) for one in packages if one.version is not None}
    kept = [one for one in packages if one.version is not None or (one.ecosystem, one.name) not in exact]
    return sorted(kept, key=lambda one: (one.ecosystem, one.name, one.version or ""))
