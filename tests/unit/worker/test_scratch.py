"""Temporary files of dead workers are removed, those of live ones are not, whatever their names and containers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TAKE = """
import sys
from services.worker.scratch import Scratch
print(Scratch.take().folder, flush=True)
sys.stdin.read()
"""


def _worker(temporary: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE],
        env={"TMPDIR": str(temporary), "PATH": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = iter(process.stdout)
    return process, Path(next(line for line in lines if line.startswith(str(temporary))).strip())


def test_a_killed_workers_folder_is_removed_by_the_next_and_a_live_ones_is_not(tmp_path: Path) -> None:
    killed, left_behind = _worker(tmp_path)
    (left_behind / "repository").mkdir()
    alive, in_use = _worker(tmp_path)
    assert left_behind.exists()
    killed.kill()
    killed.wait()
    third, own = _worker(tmp_path)
    try:
        assert not left_behind.exists()
        assert in_use.exists()
        assert own.exists()
    finally:
        for process in (alive, third):
            process.kill()
            process.wait()
