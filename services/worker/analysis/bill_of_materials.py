"""The inventory as a CycloneDX 1.6 document (ECMA-424), checked against the official schema.

Used by services/worker/analysis/supply_chain.py. Built as plain JSON: cyclonedx-python-lib's model needs seconds for
3,000 packages, and its validator minutes, as it compares every component with every other (`uniqueItems`). So its
validator sees the components in portions; that none is there twice is what the inventory's keys say.
"""

from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import orjson

from services.worker.analysis.dependencies import Inventory, Package
from services.worker.analysis.vulnerabilities import Vulnerability

NAME = "dependencies.cdx.json"
MEDIA_TYPE = "application/vnd.cyclonedx+json"
_PORTION = 100
_FILES_NAMED = 20


def document(
    inventory: Inventory, found: list[Vulnerability], *, repository: str, commit: str, run: str, now: datetime
) -> dict[str, Any]:
    """The document. `run` makes its serial number: the same run writes the same document."""
    subject = {"type": "application", "bom-ref": "repository", "name": repository, "version": commit}
    tool = {"type": "application", "name": "CommandCenter"}
    bom: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, run)}",
        "version": 1,
        "metadata": {
            "timestamp": now.isoformat(timespec="seconds"),
            "tools": {"components": [tool]},
            "component": subject,
        },
        "components": [_component(one) for one in inventory.packages],
    }
    if found:
        bom["vulnerabilities"] = [_vulnerability(one) for one in found]
    return bom


def problems(bom: dict[str, Any]) -> str | None:
    """Where the document breaks its schema; None when nowhere."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    validator = JsonStrictValidator(SchemaVersion.V1_6)
    lists = {name: bom.get(name, []) for name in ("components", "vulnerabilities")}
    longest = max(len(one) for one in lists.values())
    for start in range(0, max(1, longest), _PORTION):
        portion = {name: some for name, one in lists.items() if (some := one[start : start + _PORTION])}
        rest = {name: value for name, value in bom.items() if name not in lists}
        error = validator.validate_str(orjson.dumps(rest | portion).decode())
        if error is not None:
            return str(getattr(error.data, "message", error))[:300]
    return None


def _component(package: Package) -> dict[str, Any]:
    purl = package.purl
    component: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": package.name}
    if package.version is not None:
        component["version"] = package.version
    component["purl"] = purl
    component["properties"] = [
        {"name": "commandcenter:file", "value": f"{path}:{line}"} for path, line in package.places[:_FILES_NAMED]
    ]
    return component


def _vulnerability(one: Vulnerability) -> dict[str, Any]:
    source = {"name": "OSV", "url": f"https://osv.dev/vulnerability/{one.vulnerability_id}"}
    rating: dict[str, Any] = {"severity": one.severity}
    if one.vector and one.score is not None:
        rating |= {"score": one.score, "vector": one.vector, "method": f"CVSSv3{'1' if ':3.1/' in one.vector else ''}"}
    fields: dict[str, Any] = {
        "bom-ref": f"{one.package.purl}#{one.vulnerability_id}",
        "id": one.vulnerability_id,
        "source": source,
        "ratings": [rating],
        "affects": [{"ref": one.package.purl}],
    }
    if one.aliases:
        fields["references"] = [{"id": alias, "source": {"name": "OSV"}} for alias in one.aliases]
    if one.summary:
        fields["description"] = one.summary
    if one.fixed_in:
        fields["recommendation"] = f"Fixed in {', '.join(one.fixed_in)}."
    return fields
