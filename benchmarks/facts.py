"""The machine and the versions a figure belongs to: without them it says nothing."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from deploy.local.jars import KAFKA_VERSION
from deploy.local.postgres import binary
from deploy.local.settings import PROJECT_ROOT

PACKAGES = (
    "confluent-kafka",
    "faust-streaming",
    "fastapi",
    "orjson",
    "psycopg2-binary",
    "pydantic",
    "sqlalchemy",
    "uvicorn",
)


def machine() -> dict[str, object]:
    """Processor, memory and system."""
    return {
        "cpu": _cpu_model(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
    }


def versions() -> dict[str, str]:
    """Everything that took part."""
    postgres = _output([str(binary("postgres")), "--version"]).rpartition(" ")[2]
    found = {"python": platform.python_version(), "kafka": KAFKA_VERSION, "postgres": postgres}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # not part of this installation
    found["commit"] = _output(["git", "-C", str(PROJECT_ROOT), "rev-parse", "--short=12", "HEAD"])
    return found


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _output(command: list[str]) -> str:
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return result.stdout.strip()
