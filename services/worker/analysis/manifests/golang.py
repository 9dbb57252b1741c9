"""Go: go.mod (go.dev/ref/mod). From Go 1.17 on it names every module that is needed, indirect ones included."""

import re
from collections.abc import Iterator

from services.worker.analysis.manifests.named import Named

_REQUIRED = re.compile(r"(?P<module>[^\s\"(]+)\s+(?P<version>v[^\s]+)")
_REPLACED = re.compile(r"(?P<old>\S+)(?:\s+v\S+)?\s+=>\s+(?P<new>\S+)(?:\s+(?P<version>v\S+))?")


def go_mod(text: str) -> Iterator[Named]:
    """The required modules, replaced ones by what replaces them. Versions without the `v`, as OSV writes them."""
    required: list[Named] = []
    replaced: dict[str, Named] = {}
    block = ""
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.partition("//")[0].strip()
        if line == ")":
            block = ""
            continue
        word, _, rest = line.partition(" ")
        if rest.strip() == "(" or line.endswith("("):
            block = word.rstrip("(")
            continue
        kind, said = (block, line) if block else (word, rest.strip())
        if kind == "require" and (found := _REQUIRED.fullmatch(said)) is not None:
            required.append(Named(found["module"], found["version"][1:], number))
        elif kind == "replace" and (swap := _REPLACED.fullmatch(said)) is not None:
            version = swap["version"]
            replaced[swap["old"]] = Named(swap["new"], version and version[1:], number)
    for one in required:
        other = replaced.get(one.name)
        if other is None:
            yield one
        elif other.version is not None:  # without one it is a folder of the repository
            yield other
