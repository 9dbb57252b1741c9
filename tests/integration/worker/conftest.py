"""The worker's fixtures."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.ports import free_ports
from tests.integration.worker.bench_of_runs import Runs, runs_on
from tests.waiting import eventually


@pytest.fixture
def runs(kafka_server: str, topic_prefix: str, database_url: str, tmp_path: Path) -> Iterator[Runs]:
    """A system of this test alone, as its worker sees it; start workers with `runs.worker()`."""
    with runs_on(kafka_server, topic_prefix, database_url, tmp_path) as system:
        yield system


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """A real S3 server's address; a process of its own, so that its memory is not taken for ours."""
    port = free_ports(1)[0]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: _listens(port), 30, "the S3 server listens")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture
def s3_bucket(s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket of this test alone, `s3://name`; the environment leads there."""
    import boto3  # type: ignore[import-untyped]

    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = f"artifacts-{abs(hash(tmp_path)) % 10**8}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return f"s3://{bucket}"
