"""Java: pom.xml (Maven). Properties are filled in from the same file; what a parent elsewhere sets stays unknown."""

import re
from collections.abc import Iterator
from typing import Any

from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped] # no entity of theirs is expanded

from services.worker.analysis.manifests.named import Lines, Named

_PROPERTY = re.compile(r"\$\{([^}]+)\}")
_RANGE = re.compile(r"[\[\](),]")


def pom(text: str) -> Iterator[Named]:
    """The dependencies, named `group:artifact`."""
    root, lines = fromstring(text, forbid_dtd=True), Lines(text)
    properties = _properties(root)
    managed = {}
    for one in root.findall("{*}dependencyManagement/{*}dependencies/{*}dependency"):
        managed[_name(one, properties)] = _filled(_said(one, "version"), properties)
    for one in (
        *root.findall("{*}dependencies/{*}dependency"),
        *root.findall("{*}profiles/{*}profile/{*}dependencies/{*}dependency"),
    ):
        name = _name(one, properties)
        version = _filled(_said(one, "version"), properties) or managed.get(name)
        exact = version if version and not _RANGE.search(version) and "${" not in version else None
        yield Named(name, exact, lines.number(f"<artifactId>{_said(one, 'artifactId')}</artifactId>"))


def _properties(root: Any) -> dict[str, str]:
    known = {_local(one.tag): (one.text or "").strip() for one in root.findall("{*}properties/*")}
    for field in ("version", "groupId"):
        value = _said(root, field) or _said(root, f"parent/{{*}}{field}")
        known |= {f"project.{field}": value, f"pom.{field}": value}
    return known


def _name(dependency: Any, properties: dict[str, str]) -> str:
    group, artifact = (_filled(_said(dependency, field), properties) for field in ("groupId", "artifactId"))
    if not group or not artifact:
        raise ValueError("a dependency without groupId or artifactId")
    return f"{group}:{artifact}"


def _filled(text: str, properties: dict[str, str]) -> str:
    for _ in range(5):  # properties may be made of properties
        filled = _PROPERTY.sub(lambda found: properties.get(found[1], found[0]), text)[:500]
        if filled == text:
            break
        text = filled
    return text


def _said(element: Any, field: str) -> str:
    return (element.findtext(f"{{*}}{field}") or "").strip()


def _local(tag: object) -> str:
    return str(tag).rpartition("}")[2]
