"""Rust: Cargo.lock, and Cargo.toml for what a library without a lock file asks for."""

import re
import tomllib
from collections.abc import Iterator

from services.worker.analysis.manifests.named import Lines, Named, text_or_none

_EXACT = re.compile(r"=\s*(?P<version>\d+\.\d+\.\d+[\w.+-]*)")


def cargo_lock(text: str) -> Iterator[Named]:
    """The resolved crates; those without a source are the repository's own."""
    lines = Lines(text)
    for package in tomllib.loads(text).get("package", ()):
        if package.get("source"):
            name = package["name"]
            yield Named(name, text_or_none(package.get("version")), lines.number(f'name = "{name}"'))


def cargo_toml(text: str) -> Iterator[Named]:
    """The crates asked for; `1.2` is a range here, `=1.2.3` is exact."""
    document, lines = tomllib.loads(text), Lines(text)
    tables = [document, document.get("workspace", {}), *document.get("target", {}).values()]
    for table in tables:
        for kind in ("dependencies", "dev-dependencies", "build-dependencies"):
            for key, value in table.get(kind, {}).items():
                entry = {"version": value} if isinstance(value, str) else value
                if "path" in entry or entry.get("workspace"):
                    continue
                exact = _EXACT.fullmatch(entry.get("version", ""))
                yield Named(entry.get("package", key), exact and exact["version"], lines.number(f'{key} = "{value}"'))
