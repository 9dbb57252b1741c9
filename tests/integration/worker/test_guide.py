"""The guide's own example, as printed: a task type in one file, found through an entry point, run by a real worker."""

from __future__ import annotations

import re
import tomllib

from deploy.local.settings import PROJECT_ROOT
from shared.events.types import RunFailed, RunSucceeded
from tests.integration.worker.bench_of_runs import Runs


def blocks(language: str) -> list[str]:
    """The guide's pieces of code in that language."""
    text = (PROJECT_ROOT / "docs" / "task-types.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_twenty_lines_of_the_guide_work_as_printed(runs: Runs) -> None:
    (code,), (packaging,) = blocks("python"), blocks("toml")
    assert len(code.splitlines()) <= 20
    points = tomllib.loads(packaging)["project"]["entry-points"]["commandcenter.tasks"]
    folder = runs.home / "plugged-in"
    folder.mkdir()
    (folder / code.splitlines()[0].removeprefix("# ")).write_text(code)
    runs.worker(plug_ins=points)
    job = runs.due("greet", {"name": "Ada"})
    ended = runs.ended(job)
    assert isinstance(ended, RunSucceeded)
    assert ended.result == {"said": f"Hello Ada, this is job {job}"}
    given_up = runs.ended(runs.due("greet", {"name": "nobody"}, max_attempts=3))
    assert isinstance(given_up, RunFailed)
    assert (given_up.error, given_up.will_retry) == ("there is nobody to greet", False)
    ((schema, description),) = runs.query("SELECT parameters_schema, description FROM task_types WHERE name = 'greet'")
    assert schema["required"] == ["name"]
    assert description == "Greet somebody."
