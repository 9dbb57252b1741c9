"""Repositories that are larger than they look are refused before a file of them is written."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from services.worker.analysis import sarif, tools
from services.worker.git import GitCache, judged
from services.worker.settings import Settings
from services.worker.task import PermanentError
from tests.integration.worker.test_analysis import git, repository


def fetched_and_checked_out(source: Path, home: Path, *, files: int = 10_000, megabytes: int = 100) -> list[Path]:
    settings = Settings(home=home, repository_files_limit=files, repository_limit_mb=megabytes)
    folder = home / "files"
    folder.mkdir(parents=True)
    place = judged(str(source), settings)
    with GitCache(settings).opened(1) as bare:
        bare.check_out(bare.fetch_tip(place, None), folder)
    return list(folder.rglob("*"))


def bomb(folder: Path) -> None:
    """Ten levels of ten names for the same tree: ten billion files in a dozen objects."""
    repository(folder, {"a.txt": "x" * 1_000})
    entry = f"100644 blob {git(folder, 'rev-parse', 'HEAD:a.txt')}"
    for _ in range(10):
        listing = "".join(f"{entry}\t{name}\n" for name in "0123456789")
        tree = subprocess.run(
            ["git", "-C", str(folder), "mktree"], input=listing, check=True, capture_output=True, text=True
        ).stdout.strip()
        entry = f"040000 tree {tree}"
    made = git(folder, "commit-tree", "-m", "bomb", tree)
    git(folder, "update-ref", "refs/heads/trunk", made)


def test_a_dozen_objects_that_unfold_to_billions_of_files_are_refused_at_once(tmp_path: Path) -> None:
    bomb(tmp_path / "bomb")
    with pytest.raises(PermanentError, match="more than 10000 files in one commit"):
        fetched_and_checked_out(tmp_path / "bomb", tmp_path / "by-count")
    with pytest.raises(PermanentError, match="more than 1 MiB in one commit"):
        fetched_and_checked_out(tmp_path / "bomb", tmp_path / "by-size", megabytes=1)
    assert list((tmp_path / "by-count" / "files").iterdir()) == []


def test_a_repository_within_the_limits_is_checked_out_whole(tmp_path: Path) -> None:
    repository(tmp_path / "plain", {"a.txt": "1", "b/ünï.txt": "2"})
    found = fetched_and_checked_out(tmp_path / "plain", tmp_path / "home", files=2)
    assert {path.name for path in found} == {"a.txt", "b", "ünï.txt"}


def test_names_that_are_no_text_keep_nothing_from_being_analysed(tmp_path: Path) -> None:
    repository(tmp_path / "odd", {"a.txt": "1"})
    strange = tmp_path / "odd" / os.fsdecode(b"caf\xe9")
    strange.mkdir()
    for name in (b"\xff.py", b"\xff" * 200 + b".py", b"new\nline.py", b"back\\slash.py"):
        (strange / os.fsdecode(name)).write_text("eval(input())\npassword = 'correct-horse-battery'\n")
    git(tmp_path / "odd", "add", "-A")
    git(tmp_path / "odd", "commit", "--quiet", "-m", "odd names")
    fetched_and_checked_out(tmp_path / "odd", tmp_path / "home")
    folder = tmp_path / "home" / "files"
    files = tools.files_of(folder)
    reports = [tools.bandit(folder, 60), tools.secrets(folder, files, 60), tools.ruff(folder, 60)]
    reports.append(tools.lizard(folder, files))
    document = sarif.document(reports, folder, url="https://example.com/x", commit="0", branch=None, known=None)
    assert sarif.problems(document) == []
    evals = {one.path for one in reports[0].findings if one.rule.rule_id == "B307"}
    assert len(evals) == 4
    assert {"caf%xe9/%xff.py", "caf%xe9/new\nline.py", "caf%xe9/back%slash.py"} < evals
    assert {one.path for one in reports[1].findings} == evals
