"""The manifests fit Kubernetes' own schemas, start what exists, and keep to the restricted pod security standard."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "k8s"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
OBJECTS = [
    pytest.param(each, id=f"{each['kind']}-{each['metadata']['name']}")
    for name in KUSTOMIZATION["resources"]
    for each in yaml.safe_load_all((FOLDER / name).read_text())
]
PODS = [each for each in OBJECTS if "template" in each.values[0].get("spec", {})]  # type: ignore[union-attr]


@pytest.mark.parametrize("manifest", OBJECTS)
def test_it_fits_the_schema(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("manifest", PODS)
def test_it_starts_what_exists_and_may_do_little(manifest: dict[str, Any]) -> None:
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    python, flag, module = container["command"]
    assert (python, flag) == ("python", "-m")
    assert importlib.util.find_spec(module)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert "memory" in container["resources"]["limits"]


def test_every_manifest_is_listed() -> None:
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert files == set(KUSTOMIZATION["resources"])
