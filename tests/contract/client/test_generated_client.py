"""A client generated from docs/openapi.json by openapi-python-client: it is made whole, its user's code passes mypy
--strict, and it drives create → execute → job → delete against the four services."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.api import openapi
from tests.stack import Stack

PROGRAM = Path(__file__).with_name("way_of_a_stranger.py")


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the package `client`."""
    folder = tmp_path_factory.mktemp("generated")
    _said(
        [
            str(Path(sys.executable).with_name("openapi-python-client")),
            *("generate", "--path", str(openapi.COMMITTED), "--output-path", str(folder / "client")),
            *("--meta", "none", "--fail-on-warning"),
        ],
        folder,
    )
    (folder / "client" / "py.typed").touch()
    return folder


def _said(command: list[str], folder: Path) -> str:
    # Its formatter is found on PATH; nothing of this project is.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(folder), "MYPYPATH": str(folder), "no_proxy": "*"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def test_its_users_code_is_typed(generated: Path) -> None:
    # The generator's own boilerplate (client.py's __exit__) is not strict; what it says of this API is what counts.
    mypy = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file", os.devnull]
    said = _said([*mypy, str(PROGRAM)], generated)
    assert "Success" in said


def test_it_drives_a_schedule_from_its_creation_to_its_deletion(generated: Path, stack: Stack) -> None:
    assert "succeeded" in _said([sys.executable, str(PROGRAM), stack.api_url], generated)
