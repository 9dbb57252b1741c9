"""The runbook's commands, as they are printed, against a running stack: at 3 a.m. nobody corrects them."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from deploy.local.settings import PROJECT_ROOT
from tests.http import call
from tests.stack import Stack
from tests.waiting import eventually

RUNBOOK = (PROJECT_ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
_BLOCK = re.search(r"```bash\n(.*?)```", RUNBOOK, flags=re.DOTALL)
COMMANDS = [
    *(line.partition("  #")[0].strip() for line in (_BLOCK[1] if _BLOCK else "").splitlines()),
    *re.findall(r"`((?:curl|make) [^`]+)`", RUNBOOK),
]
# What make runs, without its look at the virtual environment.
_TARGETS = {
    "status": "deploy.local status",
    "logs": "deploy.local logs",
    "dead-letters": "services.worker.dead list",
    "audit-verify": "services.health.audit_verify",
}
SHOWN = {"schedule_health", "schedule_id=<id>", '-i "due schedules"'}
"""What there is always something of; other lines are looked for when something is wrong."""


@pytest.fixture(scope="module")
def schedule_id(stack: Stack) -> int:
    every_second = {"project_id": 1, "name": "Tick", "task_type": "health_check", "frequency": "interval"}
    status, made = call(f"{stack.api_url}/api/v1/schedules", {**every_second, "interval_seconds": 1})
    assert status == 201, made
    return int(made["id"])


def test_the_runbook_has_commands() -> None:
    assert len(COMMANDS) > 15
    assert {command.split()[0] for command in COMMANDS} == {"make", "curl"}


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_the_command_works(stack: Stack, schedule_id: int, command: str) -> None:
    first, _, sought = command.partition(" | grep ")
    line = _filled(first, stack, schedule_id)

    def output() -> str:
        environment = {**stack.environment, "API": stack.api_url, "no_proxy": "*"}
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=PROJECT_ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    said = output()
    if first.startswith("curl"):
        assert '"status":404' not in said and "<html" not in said.lower()
        assert "{" in said or "[" in said or "ok" in said.lower()
    if sought in SHOWN:
        words = sought.removeprefix("-i ").strip('"').replace("<id>", str(schedule_id))
        eventually(lambda: words.lower() in output().lower(), 60, command, poll=1.0)


def _filled(command: str, stack: Stack, schedule_id: int) -> str:
    command = command.replace("<id>", str(schedule_id))
    for number, name in enumerate(("api", "dispatcher", "worker", "health")):
        command = command.replace(f"localhost:800{number}/", f"127.0.0.1:{stack.ports[name]}/")
    if command.startswith("make "):
        _, target, *variables = command.split()
        return f"{' '.join(variables)} {sys.executable} -m {_TARGETS[target]}"
    return command.replace("curl ", "curl --silent --show-error --fail-with-body ").replace(
        "--fail-with-body -s", "--fail-with-body"
    )
