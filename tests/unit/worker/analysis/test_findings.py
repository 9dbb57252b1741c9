"""Fingerprints: the same while the line says the same, and no help for guessing what was quoted in it."""

from __future__ import annotations

from pathlib import Path

from services.worker.analysis.comparison import Previous, compared
from services.worker.analysis.findings import Finding, Rule, ToolReport, fingerprints, without_literals


def marks(folder: Path, text: str, *lines: int, tool: str = "bandit", marked_by: str | None = None) -> list[str]:
    (folder / "a.py").write_text(text)
    rule = Rule("B105", "a rule")
    found = [Finding(rule, "warning", "text", "a.py", line, marked_by=marked_by) for line in lines]
    return fingerprints(folder, ToolReport(tool, "1", "https://example.com", found))


def test_moving_a_line_keeps_its_fingerprint_and_changing_the_code_does_not(tmp_path: Path) -> None:
    (before,) = marks(tmp_path, "eval(x)\n", 1)
    assert marks(tmp_path, "import os\n\n    eval( x )\n", 3) == [before]
    assert marks(tmp_path, "eval(y)\n", 1) != [before]
    assert len(set(marks(tmp_path, "eval(x)\neval(x)\n", 1, 2))) == 2


def test_a_quoted_password_leaves_no_trace_in_a_fingerprint(tmp_path: Path) -> None:
    first = marks(tmp_path, "password = 'hunter2'  # \"x\"\n", 1)
    assert marks(tmp_path, "password = 'letmein'  # \"x\"\n", 1) == first
    secret = marks(tmp_path, "password: hunter2\n", 1, tool="detect-secrets", marked_by="")
    assert marks(tmp_path, "password: letmein\n", 1, tool="detect-secrets", marked_by="") == secret


def test_literals_are_emptied_and_code_is_kept() -> None:
    assert without_literals("""x = f("it's", 'a\\'b', "") + y""") == """x = f("", '', "") + y"""


def test_only_tools_that_ran_both_times_are_compared() -> None:
    before = Previous(5, {"bandit": {"a", "b"}, "osv": {"v"}})
    assert compared({"bandit": {"b", "c", "d"}, "ruff": {"r"}}, before) == {
        "new": 2,
        "fixed": 1,
        "unchanged": 1,
        "previous_job_id": 5,
    }
    assert compared({"bandit": set()}, None) is None
