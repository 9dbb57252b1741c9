"""The tools: bandit, ruff, lizard and detect-secrets over a folder of files, each into one ToolReport.

They run with their own defaults and never with the repository's configuration: what is analysed must not decide what is
found. They only read; Python tools start isolated (`-I`), so that no module of the repository is imported.
"""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import orjson

from services.worker.analysis.findings import Finding, Rule, ToolReport, sorted_findings, without_literals
from services.worker.task import TemporaryError

FILE_LIMIT = 1 << 20
"""Bytes above which a file is left out by the tools that read files in this process: nobody wrote it by hand."""
_LIZARD_SUFFIXES = frozenset(
    {
        *(".c", ".cc", ".cpp", ".h", ".hpp", ".java", ".cs", ".js", ".jsx", ".ts", ".tsx", ".m", ".mm", ".swift"),
        *(".py", ".rb", ".php", ".scala", ".go", ".lua", ".rs", ".kt", ".sol", ".pl", ".zig"),
    }
)
_CODE = re.compile(r"`[^`]*`|`.*")
_COMPLEX_FROM, _VERY_COMPLEX_FROM = 15, 30
_LONG_FROM = 120
_BANDIT_LEVELS = {"HIGH": "error", "MEDIUM": "warning", "LOW": "note"}
_RUFF_ERRORS = ("E9", "F6", "F7", "F82", "invalid-syntax")
_RUFF_RULES = "E4,E7,E9,F,B,C90,PLE,PLW,UP,SIM"
_CERTAIN_SECRETS = frozenset({"Private Key", "AWS Access Key", "GitHub Token"})
_UNSEARCHED_LISTED = 1_000
_NAME_LIMIT = 255
"""Bytes of a file's name on Linux."""


def files_of(folder: Path) -> list[Path]:
    """Every file under the folder, in order.

    Names that are no UTF-8 or hold a backslash are changed on disk: no JSON could carry the former, and detect-secrets
    takes the latter for a folder's end and silently leaves the file out.
    """
    for parent, folders, names in os.walk(os.fsencode(folder), topdown=False):
        for name in (*folders, *names):
            readable = name.decode(errors="backslashreplace").replace("\\", "%").encode()
            if readable != name:
                if len(readable) > _NAME_LIMIT or os.path.lexists(os.path.join(parent, readable)):  # noqa: PTH118 (bytes)
                    ending = os.path.splitext(readable)[1][-16:]  # noqa: PTH122 (bytes)
                    readable = hashlib.sha256(name).hexdigest().encode() + ending
                os.rename(os.path.join(parent, name), os.path.join(parent, readable))  # noqa: PTH104, PTH118 (bytes)
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def bandit(folder: Path, seconds: float) -> ToolReport:
    """Security of Python code."""
    configuration = folder.with_name(f"{folder.name}.bandit")
    configuration.write_text("[bandit]\n", encoding="ascii")  # else bandit takes a .bandit of the repository
    output = folder.with_name(f"{folder.name}.bandit.json")
    command = [
        "-r",
        "-q",
        "-f",
        "json",
        "-o",
        str(output),
        "--exit-zero",
        "--ini",
        str(configuration),
        "--",
        str(folder),
    ]
    _run([sys.executable, "-I", "-m", "bandit", *command], seconds, "bandit")
    findings = []
    for one in orjson.loads(output.read_bytes())["results"]:
        weakness = (one.get("issue_cwe") or {}).get("id")
        findings.append(
            Finding(
                Rule(one["test_id"], one["test_name"], one["more_info"]),
                _BANDIT_LEVELS.get(one["issue_severity"], "note"),
                _without_password(one["test_id"], one["issue_text"]),
                _relative(one["filename"], folder),
                one["line_number"],
                one["col_offset"] + 1 if one.get("col_offset", -1) >= 0 else None,
                properties={"confidence": one["issue_confidence"].lower()} | ({"cwe": weakness} if weakness else {}),
            )
        )
    return ToolReport("bandit", version("bandit"), "https://bandit.readthedocs.io/", sorted_findings(findings))


def ruff(folder: Path, seconds: float) -> ToolReport:
    """Faults and doubtful constructs in Python code."""
    from ruff import find_ruff_bin  # type: ignore[import-untyped] # where the wheel put the program

    options = ["--isolated", "--no-cache", "--exit-zero", "--quiet", "--no-respect-gitignore", "--output-format=json"]
    output = _run(
        [find_ruff_bin(), "check", *options, f"--select={_RUFF_RULES}", "--line-length=120", "--", str(folder)],
        seconds,
        "ruff",
    )
    findings = []
    for one in orjson.loads(output):
        code = one["code"] or "invalid-syntax"
        findings.append(
            Finding(
                Rule(code, one.get("name") or code, one["url"]),
                "error" if code.startswith(_RUFF_ERRORS) else "warning",
                _CODE.sub(lambda code: without_literals(code[0]), one["message"]),  # it quotes what it would write
                _relative(one["filename"], folder),
                one["location"]["row"],
                one["location"]["column"],
                one["end_location"]["row"],
                one["end_location"]["column"],
            )
        )
    return ToolReport("ruff", version("ruff"), "https://docs.astral.sh/ruff/", sorted_findings(findings))


def lizard(folder: Path, files: Sequence[Path]) -> ToolReport:
    """Functions that are too complex or too long, in some twenty languages."""
    import lizard as analyser

    complexity = Rule("cyclomatic-complexity", "Too complex a function", "https://github.com/terryyin/lizard")
    length = Rule("function-length", "Too long a function", "https://github.com/terryyin/lizard")
    findings = []
    for path in files:
        if path.suffix not in _LIZARD_SUFFIXES or path.stat().st_size > FILE_LIMIT:
            continue
        try:
            functions = analyser.analyze_file(str(path)).function_list
        except (RecursionError, ValueError, IndexError, AttributeError):
            continue  # its parsers are heuristics; one odd file must not cost the others' findings
        for one in functions:
            where = (_relative(str(path), folder), max(1, one.start_line), None, max(1, one.end_line))
            if one.cyclomatic_complexity >= _COMPLEX_FROM:
                level = "error" if one.cyclomatic_complexity >= _VERY_COMPLEX_FROM else "warning"
                text = f"{one.name} has a cyclomatic complexity of {one.cyclomatic_complexity}"
                findings.append(Finding(complexity, level, text, *where))
            if one.nloc >= _LONG_FROM:
                findings.append(Finding(length, "note", f"{one.name} has {one.nloc} lines of code", *where))
    address = "https://github.com/terryyin/lizard"
    return ToolReport("lizard", version("lizard"), address, sorted_findings(findings))


def secrets(folder: Path, files: Sequence[Path], seconds: float) -> ToolReport:
    """Passwords and keys in files. Nothing found is ever tried out, and no finding carries the secret itself."""
    listing = folder.with_name(f"{folder.name}.searched")
    names = [_relative(str(path), folder) for path in files if path.stat().st_size <= FILE_LIMIT]
    listing.write_bytes(b"\n".join(orjson.dumps(name) for name in names))
    program = Path(__file__).with_name("secret_scan.py")
    # It stops by itself at half the time; the tools after it need theirs.
    command = [sys.executable, "-I", str(program), str(folder), str(listing), str(seconds / 2)]
    answer = orjson.loads(_run(command, seconds, "detect-secrets"))
    findings = []
    for name, line, kind in answer["found"]:
        level = "error" if kind in _CERTAIN_SECRETS else "warning"
        rule = Rule(kind.lower().replace(" ", "-"), kind)
        findings.append(Finding(rule, level, f"possible secret: {kind}", name, line, marked_by=""))
    slow = answer["unsearched"]
    unsearched = Rule("not-searched", "A file that takes too long to search")
    for name in slow[:_UNSEARCHED_LISTED]:
        text = f"not searched for secrets to its end: that takes too long (one of {len(slow)} such files)"
        findings.append(Finding(unsearched, "note", text, name, 1, marked_by=""))
    address = "https://github.com/Yelp/detect-secrets"
    return ToolReport("detect-secrets", version("detect-secrets"), address, sorted_findings(findings))


def _without_password(rule_id: str, message: str) -> str:
    """bandit quotes the password that it has found."""
    return message.partition(":")[0] if rule_id in {"B105", "B106", "B107"} else message


def _run(command: list[str], seconds: float, tool: str) -> bytes:
    try:
        done = subprocess.run(
            command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=max(1.0, seconds), check=False
        )
    except subprocess.TimeoutExpired as error:
        raise TemporaryError(f"{tool} took longer than {error.timeout:g} s") from error
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no word"]
        raise TemporaryError(f"{tool} ended with {done.returncode}: {last[0][:300]}")
    return done.stdout


def _relative(path: str, folder: Path) -> str:
    return Path(path).relative_to(folder).as_posix()
