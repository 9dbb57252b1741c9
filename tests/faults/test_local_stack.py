"""The local stack's own promises: one sentence for every failure, nothing left behind, what dies comes back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from deploy.local.errors import StackError
from deploy.local.jars import Jar, _verify
from deploy.local.logs import show
from deploy.local.ports import free_ports
from deploy.local.probes import _lacking
from deploy.local.processes import leftovers
from deploy.local.settings import PROJECT_ROOT, SERVICES, read_settings
from deploy.local.supervisor import cut_logs
from tests.stack import Stack
from tests.waiting import eventually


@pytest.fixture
def taken_port() -> Iterator[int]:
    port = free_ports(1)[0]
    with socket.create_server(("127.0.0.1", port)):
        yield port


def refused(stack: Stack, **environment: str) -> str:
    """The sentence with which a start is refused; checks that it is one, and that nothing runs."""
    result = stack.run("start", **environment)
    assert result.returncode == 1, result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert leftovers(stack.home) == []
    return result.stderr


def all_ready(stack: Stack) -> bool:
    """Everything is ready; otherwise the failure shows the table."""
    result = stack.run("status")
    assert result.returncode == 0, " ".join(result.stdout.split())
    return True


def test_a_port_in_use_is_named_with_its_owner_and_the_variable(private_stack: Stack, taken_port: int) -> None:
    sentence = refused(private_stack, COMMANDCENTER_WORKER_PORT=str(taken_port))
    assert f"Port {taken_port} is in use by" in sentence
    assert f"(pid {os.getpid()})" in sentence
    assert "set COMMANDCENTER_WORKER_PORT" in sentence


def test_a_home_that_cannot_be_written_is_named(private_stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sentence = refused(private_stack, COMMANDCENTER_HOME=str(tmp_path / "file" / "home"))
    assert "cannot be written" in sentence
    assert "COMMANDCENTER_HOME" in sentence


def test_servers_that_do_not_answer_are_named(private_stack: Stack) -> None:
    port = free_ports(1)[0]
    nobody = f"127.0.0.1:{port}"
    assert f"No broker answers at {nobody}" in refused(private_stack, COMMANDCENTER_KAFKA_BOOTSTRAP_SERVERS=nobody)
    url = f"postgresql+psycopg2://nobody@{nobody}/nothing"
    assert "COMMANDCENTER_DATABASE_URL cannot be used" in refused(private_stack, COMMANDCENTER_DATABASE_URL=url)
    assert "begin with postgresql://" in refused(private_stack, COMMANDCENTER_DATABASE_URL="mysql://somewhere/x")


def test_a_port_that_is_none_is_refused(private_stack: Stack) -> None:
    assert "COMMANDCENTER_API_PORT='http' is not a port" in refused(private_stack, COMMANDCENTER_API_PORT="http")
    assert "no port for the controller" in refused(private_stack, COMMANDCENTER_KAFKA_PORT="65535")


def test_a_jar_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jar").write_bytes(b"something else")
    with pytest.raises(StackError, match="is not the jar that"):
        _verify(Jar("g:a:1", "0" * 64), tmp_path / "a.jar")


def test_status_and_stop_of_nothing(private_stack: Stack) -> None:
    assert private_stack.run("status").returncode == 1
    assert private_stack.run("stop").returncode == 0


def test_long_logs_are_cut(tmp_path: Path) -> None:
    (tmp_path / "api.log").write_bytes(b"x" * 100)
    with (tmp_path / "api.log").open("ab") as service:
        cut_logs(tmp_path, limit=50)
        service.write(b"next")
    assert (tmp_path / "api.log").read_bytes() == b"next"
    assert (tmp_path / "api.log.1").read_bytes() == b"x" * 100


def test_a_service_that_is_not_ready_is_shown_with_what_it_lacks() -> None:
    body = b'{"status":"not ready","checks":{"postgres":"ok","kafka":"no broker answers","partitions":"none"}}'
    assert _lacking(body) == "kafka: no broker answers; partitions: none"
    assert _lacking(b"Bad\nGateway") == "Bad Gateway"
    assert _lacking(b'["x"]') == '["x"]'


def test_logs_that_are_not_followed_are_whole(tmp_path: Path) -> None:
    """The runbook greps them: the line it looks for is rarely among the last ones."""
    (tmp_path / "worker.log.1").write_text("moved schedule_id=7\n")
    (tmp_path / "worker.log").write_text("schedule_id=7\n" + "another line\n" * 1_000)
    said: list[str] = []
    show(tmp_path, "worker", False, said.append)
    assert [line for line in said if "schedule_id=7" in line] == ["moved schedule_id=7", "schedule_id=7"]


def test_defaults_are_those_the_documentation_names() -> None:
    settings = read_settings({"HOME": "/home/someone"})
    assert {name: settings.ports[name] for name in SERVICES} == {
        "api": 8000,
        "dispatcher": 8001,
        "worker": 8002,
        "health": 8003,
    }
    assert (settings.ports["kafka"], settings.kafka_controller_port, settings.ports["postgres"]) == (9092, 9093, 5433)
    assert settings.home == PROJECT_ROOT / ".commandcenter"


@pytest.mark.alone
def test_the_life_of_a_stack(private_stack: Stack) -> None:
    """Started, started again, every process killed, its supervisor killed, and stopped."""
    stack = private_stack.start()
    eventually(partial(all_ready, stack), 15, "the stack is ready")

    again = stack.run("start")
    assert again.returncode == 0
    assert "already running" in again.stdout

    old = {name: stack.kill(name) for name in (*SERVICES, "kafka", "postgres")}
    for name, pid in old.items():
        eventually(partial(_new_pid, stack, name, pid), 15, f"{name} is started again")
    eventually(partial(all_ready, stack), 120, "all are ready after every one was killed")
    assert "killed by SIGKILL" in stack.log("supervisor")

    stack.kill("supervisor")
    eventually(lambda: "The supervisor is gone and" in stack.run("status").stdout, 10)
    stack.stop()
    assert leftovers(stack.home) == []
    assert list((stack.home / "pids").glob("*.pid")) == []


@pytest.mark.alone
@pytest.mark.slow
def test_two_stacks_side_by_side(private_stack: Stack, tmp_path: Path) -> None:
    """Another home and other ports are all a second stack needs; a killed supervisor's stack can be started anew."""
    stack = private_stack.start()
    with Stack(tmp_path / "second", {"COMMANDCENTER_KAFKA_HEAP": "300m"}) as second:
        # A look at a busy moment may time out: ready again at once is what counts.
        eventually(partial(all_ready, second), 15, "the second stack is ready")
        eventually(partial(all_ready, stack), 15, "the first stack is ready beside it")
    assert leftovers(tmp_path / "second") == []

    stack.kill("supervisor")
    restarted = stack.run("start")
    assert restarted.returncode == 0, restarted.stderr
    assert "supervisor of an earlier start is gone" in restarted.stdout


@pytest.mark.alone
def test_a_start_cut_short_leaves_nothing(private_stack: Stack) -> None:
    command = [sys.executable, "-m", "deploy.local", "start"]
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by children of tests in the background
    start = subprocess.Popen(
        command, cwd=PROJECT_ROOT, env=private_stack.environment, stderr=subprocess.PIPE, text=True
    )
    signal.signal(signal.SIGINT, ours)
    eventually((private_stack.home / "pids" / "kafka.pid").exists, 60, "Kafka is being started")
    start.send_signal(signal.SIGINT)
    _, said = start.communicate(timeout=60)
    assert start.returncode == 130
    assert "Traceback" not in said
    assert leftovers(private_stack.home) == []


@pytest.mark.alone
def test_a_failing_migration_stops_the_start(private_stack: Stack) -> None:
    sentence = refused(private_stack, COMMANDCENTER_DATABASE_URL="", PGOPTIONS="-c default_transaction_read_only=on")
    assert "The migration step failed" in sentence


def _new_pid(stack: Stack, name: str, old: int) -> bool:
    path = stack.home / "pids" / f"{name}.pid"
    return path.exists() and stack.pid(name) != old and psutil.pid_exists(stack.pid(name))
