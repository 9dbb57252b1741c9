"""JavaScript: package.json, package-lock.json and npm-shrinkwrap.json (lock file versions 1 to 3), yarn.lock (v1)."""

import re
from collections.abc import Iterator

import orjson

from services.worker.analysis.manifests.named import Lines, Named, text_or_none

_EXACT = re.compile(r"\d+\.\d+\.\d+(?:[-+][\w.+-]+)?")
_YARN_HEAD = re.compile(r'"?(?P<name>(?:@[^@/\s"]+/)?[^@\s",]+)@[^\n]*:')
_YARN_VERSION = re.compile(r'\s+version:? "?(?P<version>[^"\s]+)"?')
_ELSEWHERE = ("file:", "link:", "workspace:", "portal:")
_KINDS = ("dependencies", "devDependencies", "optionalDependencies")


def package_json(text: str) -> Iterator[Named]:
    """What package.json asks for; mostly ranges."""
    document, lines = orjson.loads(text), Lines(text)
    for kind in _KINDS:
        for name, wanted in document.get(kind, {}).items():
            if isinstance(wanted, str) and not wanted.startswith(_ELSEWHERE):
                exact = wanted if _EXACT.fullmatch(wanted) else None
                yield Named(name, exact, lines.number(f'"{name}": "{wanted}"'))


def package_lock(text: str) -> Iterator[Named]:
    """What npm has installed. Workspaces and links are the repository's own and left out."""
    document, lines = orjson.loads(text), Lines(text)
    if "packages" in document:
        for path, entry in document["packages"].items():
            _, inside, installed = path.rpartition("node_modules/")
            if inside and not entry.get("link"):
                name = text_or_none(entry.get("name")) or installed
                yield Named(name, text_or_none(entry.get("version")), lines.number(f'"{path}": {{'))
        return
    waiting = [document.get("dependencies", {})]
    while waiting:
        for name, entry in waiting.pop().items():
            version = text_or_none(entry.get("version"))
            if version is None or not version.startswith(_ELSEWHERE):
                exact = version if version and _EXACT.fullmatch(version) else None  # else a URL
                yield Named(name, exact, lines.number(f'"{name}": {{'))
            waiting.append(entry.get("dependencies", {}))


def yarn_lock(text: str) -> Iterator[Named]:
    """What yarn has resolved."""
    name, at = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        if (head := _YARN_HEAD.fullmatch(line)) is not None:
            name, at = head["name"], number
        elif name and (found := _YARN_VERSION.fullmatch(line)) is not None:
            if not line.endswith('use.local"') and found["version"] != "0.0.0-use.local":
                yield Named(name, found["version"], at)
            name = ""
