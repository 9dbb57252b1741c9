"""Gives a worker the task type `noop` as a team would give it one of theirs: by a package with an entry point."""

from __future__ import annotations

import os
from pathlib import Path

from deploy.local.settings import PROJECT_ROOT


def plug_in(home: Path) -> str:
    """The PYTHONPATH of a worker that has it."""
    about = home / "plugged-in" / "bench_tasks-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-tasks\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[commandcenter.tasks]\nnoop = benchmarks.noop_task:noop\n")
    return f"{about.parent}{os.pathsep}{PROJECT_ROOT}"
