"""The commands of the reference, word for word, in a shell, against the four services.

Only what the reference itself leaves open is filled in: `...` stands for the address, `, ...` for the other fields, and
`docker-compose logs` for the logs of the services that took the named parts' place. curl finds the stack behind
localhost:8000 by its configuration file, so that the commands stay as they are printed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stack import Stack
from tests.waiting import eventually

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the reference's commands need curl: install it")

CREATE = {
    "Daily Code Analysis": r"""curl -X POST http://localhost:8000/api/v1/schedules \
  -H "Content-Type: application/json" \
  -d '{
    "project_id": 1,
    "name": "Daily Code Analysis",
    "task_type": "analysis",
    "frequency": "daily",
    "timezone": "America/New_York",
    "task_parameters": {
        "repository_id": 42,
        "analysis_type": "security"
    },
    "description": "Daily security scan at midnight ET"
}'""",
    "Hourly Health Check": r"""curl -X POST http://localhost:8000/api/v1/schedules \
  -H "Content-Type: application/json" \
  -d '{
    "project_id": 1,
    "name": "Hourly Health Check",
    "task_type": "health_check",
    "frequency": "hourly",
    "task_parameters": {},
    "description": "Check system health every hour"
}'""",
    "Weekly Report": r"""curl -X POST http://localhost:8000/api/v1/schedules \
  -H "Content-Type: application/json" \
  -d '{
    "project_id": 1,
    "name": "Weekly Report",
    "task_type": "export",
    "frequency": "cron",
    "cron_expression": "0 9 * * 1",
    "timezone": "America/Los_Angeles",
    "task_parameters": {
        "format": "pdf",
        "report_type": "summary"
    },
    "description": "Weekly report every Monday at 9 AM PT"
}'""",
    "Campaign Notifications": r"""curl -X POST http://localhost:8000/api/v1/schedules \
  -H "Content-Type: application/json" \
  -d '{
    "project_id": 1,
    "name": "Campaign Notifications",
    "task_type": "webhook_delivery",
    "frequency": "daily",
    "start_time": "2025-11-01T00:00:00Z",
    "end_time": "2025-11-30T23:59:59Z",
    "task_parameters": {
        "webhook_id": 15
    },
    "description": "Daily notifications during November campaign"
}'""",
    "Business Hours Sync": r"""curl -X POST http://localhost:8000/api/v1/schedules \
  -H "Content-Type: application/json" \
  -d '{
    "project_id": 1,
    "name": "Business Hours Sync",
    "task_type": "sync",
    "frequency": "cron",
    "cron_expression": "0 9-17 * * 1-5",
    "timezone": "America/New_York",
    "description": "Sync every hour, 9 AM - 5 PM, Monday-Friday ET"
}'""",
}
REST = (
    '"project_id": 1, "name": "Daily Analysis", "task_type": "health_check", "frequency": "daily",'
    ' "timezone": "America/New_York", "tags": {"team": "backend"}'
)
Shell = Callable[[str], str]


@pytest.fixture(scope="module")
def shell(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Runs a command as printed, and gives its output. curl -f is not added: a refusal is seen in the answer."""
    home = tmp_path_factory.mktemp("curl")
    (home / ".curlrc").write_text(f'connect-to = "localhost:8000:127.0.0.1:{stack.ports["api"]}"\nsilent\nshow-error\n')

    def run(command: str) -> str:
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            env={**os.environ, "CURL_HOME": str(home), "no_proxy": "*"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="module")
def schedule(shell: Shell, stack: Stack) -> dict[str, Any]:
    """Best practice 7, step 1, so that the schedule has the reference's id 123 and the job of step 2 its id 456."""
    _number(stack, "schedules_id_seq", 123)
    _number(stack, "job_ids", 456)
    made: dict[str, Any] = json.loads(shell(_filled("""curl -X POST .../schedules -d '{"enabled": false, ...}'""")))
    assert (made["id"], made["enabled"], made["is_active"]) == (123, False, False), made
    return made


def _number(stack: Stack, sequence: str, first: int) -> None:
    import psycopg2

    connection = psycopg2.connect(stack.database_url.replace("+psycopg2", ""))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval(%s, %s, false)", (sequence, first))
    connection.close()


def _filled(command: str) -> str:
    return command.replace(" .../", " http://localhost:8000/api/v1/").replace(", ...", f", {REST}")


def _logs(stack: Stack, command: str) -> str:
    """`docker-compose logs celery-beat | …`: the same pipe behind the logs of who took the part's place."""
    services = {"celery-beat": ["dispatcher"], "celery-worker": ["worker", "health"], "backend": ["api"]}
    head, _, rest = command.partition(" | ")
    names = [name for part in head.split()[2:] for name in services[part]]
    return f"cat {' '.join(str(stack.home / 'logs' / f'{name}.log') for name in names)} | {rest}"


def test_best_practice_seven_and_the_look_ups_of_the_troubleshooting(
    shell: Shell, schedule: dict[str, Any], stack: Stack
) -> None:
    # Step 2: Test execution
    executed = json.loads(shell(_filled("""curl -X POST .../schedules/123/execute -d '{"force": true}'""")))
    assert executed["message"] == "Schedule executed successfully, job 456 created"
    assert executed["next_run_at"] is None

    # Step 3: Check job results
    def ended() -> dict[str, Any] | None:
        job: dict[str, Any] = json.loads(shell(_filled("curl -X GET .../jobs/456")))
        return job if job["status"] == "succeeded" else None

    assert eventually(ended, 30, "the job has ended")["schedule_id"] == 123

    # Step 4: Enable if successful
    enabled = json.loads(shell(_filled("curl -X POST .../schedules/123/enable")))
    assert (enabled["id"], enabled["enabled"], enabled["is_active"]) == (123, True, True)

    # Is schedule enabled?  Check last error.
    got = json.loads(shell("curl http://localhost:8000/api/v1/schedules/123"))
    assert got["enabled"] is True
    assert got["last_error"] is None
    # Check due schedules endpoint
    assert json.loads(shell("curl http://localhost:8000/api/v1/schedules/due/list")) == []
    # Find recent jobs for this schedule
    jobs = json.loads(shell('curl "http://localhost:8000/api/v1/jobs?tags.schedule_id=123"'))
    assert [job["id"] for job in jobs["jobs"]] == [456]
    # Temporarily set to UTC to isolate timezone issues
    patched = json.loads(shell(_filled("""curl -X PATCH .../schedules/123 -d '{"timezone": "UTC"}'""")))
    assert patched["timezone"] == "UTC"
    assert patched["next_run_at"].endswith("T00:00:00Z")
    # Disable unused schedules
    assert (
        json.loads(shell("curl -X POST .../schedules/123/disable".replace("...", "http://localhost:8000/api/v1")))[
            "enabled"
        ]
        is False
    )

    # The logs
    assert "job_id=456" in shell(_logs(stack, 'docker-compose logs celery-worker | grep "schedule_id=123"'))
    assert "Executed schedule 123, created job 456, next run at never" in shell(
        _logs(stack, 'docker-compose logs backend celery-worker | grep "schedule_id=123"')
    )
    everything = shell(_logs(stack, "docker-compose logs backend celery-worker celery-beat | grep -i schedule"))
    assert re.search(r"INFO  Created schedule 123 \(Daily Analysis\) with next run at ", everything)

    # Delete schedules past end_time
    assert shell(_filled("curl -X DELETE .../schedules/123")) == ""
    assert json.loads(shell("curl http://localhost:8000/api/v1/schedules/123"))["status"] == 404


@pytest.mark.parametrize("name", CREATE)
def test_every_example_is_created(shell: Shell, schedule: dict[str, Any], name: str) -> None:
    made = json.loads(shell(CREATE[name]))
    assert made["name"] == name
    assert made["enabled"] is True
    assert made["is_active"] is (name != "Campaign Notifications")  # its window is over


def test_due_schedules_and_the_health_report_are_found_in_the_logs(
    shell: Shell, schedule: dict[str, Any], stack: Stack
) -> None:
    every_second = {"project_id": 1, "name": "Tick", "task_type": "health_check", "frequency": "interval"}
    body = json.dumps({**every_second, "interval_seconds": 1})
    made = json.loads(shell(f"curl -X POST http://localhost:8000/api/v1/schedules -d '{body}'"))

    def greps(command: str, wanted: str) -> None:
        eventually(lambda: wanted in shell(f"{_logs(stack, command)} || true"), 90, command, poll=1.0)

    greps('docker-compose logs celery-beat | grep -i "due schedules"', "ue schedules")
    greps('docker-compose logs celery-worker | grep "schedule_health"', "schedule_health")
    greps('docker-compose logs celery-worker | grep "monitor_schedule_health"', "monitor_schedule_health completed")
    shell(f"curl -X DELETE http://localhost:8000/api/v1/schedules/{made['id']}")


def test_the_commands_are_the_references(tmp_path: Path) -> None:
    """Where the reference lies beside the checkout, nothing of it was left out or changed here."""
    reference = Path(__file__).resolve().parents[3] / "shared" / "reference" / "schedule-management.md"
    if not reference.exists():
        pytest.skip("the reference is not beside this checkout")
    text, here = reference.read_text(encoding="utf-8"), Path(__file__).read_text(encoding="utf-8")
    for command in CREATE.values():
        assert command in text
    for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL):
        for line in map(str.strip, block.splitlines()):
            if line.startswith(("curl", "docker-compose logs")) and not line.endswith(("\\", "-f celery-beat")):
                assert line in here, f"the reference's command is not run: {line}"
