"""Gives a worker the task types of noop_tasks.py as a team would give it theirs: by a package with entry points."""

from __future__ import annotations

import os
from pathlib import Path

from deploy.local.settings import PROJECT_ROOT


def plug_in(home: Path) -> str:
    """The PYTHONPATH of a worker that has them."""
    about = home / "plugged-in" / "bench_tasks-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-tasks\nVersion: 1.0\n")
    points = "\n".join(f"{name} = benchmarks.noop_tasks:{name}" for name in ("noop", "forked"))
    (about / "entry_points.txt").write_text(f"[commandcenter.tasks]\n{points}\n")
    return f"{about.parent}{os.pathsep}{PROJECT_ROOT}"
