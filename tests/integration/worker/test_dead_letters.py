"""The dead letters' command against a real runs.dead: listed, shown, sent again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from deploy.local.settings import PROJECT_ROOT
from shared.events.types import RunFailed
from tests.integration.worker.bench_of_runs import Runs
from tests.waiting import eventually


def command(runs: Runs, *arguments: str) -> tuple[int, str]:
    environment = {**os.environ, **runs.workers[0].environment}
    done = subprocess.run(
        [sys.executable, "-m", "services.worker.dead", *arguments],
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def letters(runs: Runs) -> dict[str, str]:
    """Two letters, one a run that was given up and one unreadable: reason → place."""
    runs.worker()
    assert command(runs, "list") == (0, "There are no dead letters.\n")
    runs.query(
        "INSERT INTO schedules (id, project_id, name, task_type, frequency) VALUES (7, 1, 'x', 'fail', 'hourly')"
    )
    runs.query("INSERT INTO schedule_timers (schedule_id, project_id) VALUES (7, 1)")
    assert isinstance(runs.ended(runs.due("fail", {"how": "permanent"}, job_id=900)), RunFailed)
    runs.send("runs.due.wait", b"1", {"a": "\x1b[31m"}, b"not an event")

    def both() -> list[str] | None:
        lines = command(runs, "list")[1].splitlines()
        return lines if len(lines) == 2 and "runs.due" in lines[1] else None

    lines = eventually(both, 20)
    return {"given up" if "given up" in line else "unreadable": line.split()[0] for line in lines}


def test_letters_are_listed_shown_and_sent_again(runs: Runs, letters: dict[str, str]) -> None:
    code, shown = command(runs, "show", letters["given up"])
    assert code == 0
    assert "given up after attempt 1: error: this cannot work" in shown
    assert '"how":"permanent"' in shown
    assert "\x1b" not in command(runs, "show", letters["unreadable"])[1]

    # A run that was given up: its work runs anew as a job of its own.
    code, said = command(runs, "resend", letters["given up"])
    assert code == 0, said
    (made,) = runs.query("SELECT id, trigger, status FROM jobs")
    assert made[1:] == ("manual", "queued")
    assert said == f"Job {made[0]} runs the work of job 900 again.\n"
    assert len(runs.query("SELECT 1 FROM outbox")) == 1

    # Work of a schedule that has been deleted since is nobody's any more.
    runs.query("UPDATE schedules SET deleted_at = now(), enabled = false WHERE id = 7")
    assert command(runs, "resend", letters["given up"]) == (1, "schedule 7 has been deleted\n")
    assert len(runs.query("SELECT 1 FROM jobs")) == 1

    # What nobody could read: back to where it came from, byte for byte (and put aside once more).
    before = len(runs.read("runs.due.wait"))
    assert command(runs, "resend", letters["unreadable"])[0] == 0
    again = runs.read("runs.due.wait")
    assert len(again) == before + 1
    assert {(one.value(), str(one.headers())) for one in again} == {(b"not an event", str([("a", b"\x1b[31m")]))}

    assert command(runs, "show", "0:999999")[0] == 1
    assert "there is no letter" in command(runs, "show", "0:999999")[1]


def test_plug_ins_register_their_type_and_its_schema(runs: Runs) -> None:
    runs.worker()
    rows = {row[0]: row for row in runs.query("SELECT name, owner, parameters_schema, description FROM task_types")}
    assert rows["wait"][1] == "external"
    assert set(rows["wait"][2]["properties"]) == {"mark", "seconds", "how"}
    assert rows["wait"][3] == "Wait, as one does for a network."
    assert rows["analysis"][1] == "built-in"
