"""A real Prometheus for tests, scraping a stack as deploy/prometheus/prometheus.yml says."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local.ports import free_ports
from deploy.local.settings import PROJECT_ROOT
from tests.stack import Stack
from tests.waiting import eventually
from tools.prometheus import find

DEPLOYED = PROJECT_ROOT / "deploy" / "prometheus"


def needed(program: str) -> str:
    """Where promtool or prometheus is; a test that needs it is not run where it is missing, and says so."""
    path = find(program)
    if path is None:
        pytest.skip(f"NOT RUN: {program} is not here; `make prometheus` brings it")
    return path


class Prometheus:
    """A running one."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of its HTTP API."""
        with urllib.request.urlopen(
            f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=10
        ) as one:
            answer = json.load(one)
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[float]:
        """The values of an instant query, without those that are none (NaN)."""
        values = [float(one["value"][1]) for one in self.ask("query", query=expression)["result"]]
        return [value for value in values if value == value]  # noqa: PLR0124 (NaN is unequal to itself)

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:
                return int(answer.status) == 200
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def scraping(stack: Stack, folder: Path) -> Iterator[Prometheus]:
    """Prometheus with the deployed configuration and rules, this stack's ports, and a look every second."""
    program = needed("prometheus")
    settings = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text())
    settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    settings["rule_files"] = [str(DEPLOYED / pattern) for pattern in settings["rule_files"]]
    for job in settings["scrape_configs"]:
        service = job["job_name"].removeprefix("commandcenter-")
        job["static_configs"] = [{"targets": [f"127.0.0.1:{stack.ports[service]}"]}]
    folder.mkdir()
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    (port,) = free_ports(1)
    arguments = [
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([program, *arguments], stdout=log, stderr=log)
    try:
        prometheus = Prometheus(f"http://127.0.0.1:{port}")
        eventually(prometheus.ready, 20, "Prometheus is ready")
        yield prometheus
    finally:
        process.terminate()
        process.wait(20)
