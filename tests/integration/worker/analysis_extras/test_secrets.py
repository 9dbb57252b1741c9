"""Secrets are found by file, line and kind, and a line made to keep the search busy costs its own file only."""

from __future__ import annotations

from pathlib import Path

from services.worker.analysis import tools

KEY = "AKIA" + "QWERTYUIOPASDFGH"


def test_a_line_made_to_be_slow_costs_five_seconds_and_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    files = {
        "a slow\none.js": "password_" * 20_000,  # hours for one of detect-secrets' expressions
        "b/settings.py": f'\nKEY = "{KEY}"\n',
        "c/ünï.env": "password: correct-horse-battery\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    report = tools.secrets(folder, tools.files_of(folder), 60)
    assert {(one.path, one.line, one.rule.rule_id, one.level) for one in report.findings} == {
        ("a slow\none.js", 1, "not-searched", "note"),
        ("b/settings.py", 2, "aws-access-key", "error"),
        ("c/ünï.env", 1, "secret-keyword", "warning"),
    }
    assert not any(KEY in repr(one) or "battery" in repr(one) for one in report.findings)
