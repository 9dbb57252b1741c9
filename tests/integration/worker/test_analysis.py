"""analysis on a real git repository through a real worker: findings, SARIF, comparison, and hostile content."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft4Validator

from deploy.local.settings import PROJECT_ROOT
from shared.events.types import RunFailed, RunSucceeded
from tests.integration.worker.bench_of_runs import Runs

CODE = '''import os
import pickle


def load(data):
    """Unpickle."""
    return pickle.loads(data)


def run(command):
    os.system(command)


token = "ghp_{token}"
'''


def git(folder: Path, *arguments: str) -> str:
    options = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "protocol.file.allow=always"]
    return subprocess.run(
        ["git", "-C", str(folder), *options, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def repository(folder: Path, files: dict[str, str]) -> str:
    """A repository with one commit on branch `trunk`; returns the commit."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet", "--initial-branch=trunk")
    return commit(folder, files)


def commit(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "add", "-A", "-f")
    git(folder, "commit", "--quiet", "-m", "change")
    return git(folder, "rev-parse", "HEAD")


def register(runs: Runs, url: str, branch: str | None = None) -> int:
    rows = runs.query(
        "INSERT INTO repositories (project_id, name, url, default_branch) VALUES (1, %s, %s, %s) RETURNING id",
        (url[-100:], url, branch),
    )
    return int(rows[0][0])


def artifact(runs: Runs, ended: RunSucceeded, name: str) -> bytes:
    day = ended.scheduled_for.date().isoformat()
    return (runs.home / "artifacts" / day / str(ended.job_id) / str(ended.attempt) / name).read_bytes()


def assert_fits_the_official_schema(sarif: dict[str, Any]) -> None:
    schema = orjson.loads((PROJECT_ROOT / "services/worker/analysis/sarif-schema-2.1.0.json").read_bytes())
    assert not [error.message for error in Draft4Validator(schema).iter_errors(sarif)]


def test_a_full_analysis_leaves_a_sarif_file_and_is_compared_with_the_one_before(runs: Runs, tmp_path: Path) -> None:
    source = tmp_path / "source"
    token = hashlib.sha1(b"a token").hexdigest()[:36]
    first = repository(source, {"app/main.py": CODE.replace("{token}", token), "README.md": "# A project\n"})
    number = register(runs, str(source))
    runs.worker()

    job = runs.due("analysis", {"repository_id": number, "analysis_type": "full"}, schedule_id=42)
    ended = runs.ended(job, 60)
    assert isinstance(ended, RunSucceeded), ended
    result = ended.result
    assert (result["commit"], result["branch"], result["files"]) == (first, "trunk", 2)
    assert result["findings"]["total"] == sum(result["findings"]["by_tool"].values()) > 3
    assert {"bandit/B301", "bandit/B605"} <= set(result["findings"]["by_rule"])
    assert result["findings"]["by_tool"]["detect-secrets"] >= 1
    assert result["compared_with_previous"] is None

    (stored,) = ended.artifacts
    data = artifact(runs, ended, "analysis.sarif")
    assert (stored.name, stored.size) == ("analysis.sarif", len(data))
    assert stored.sha256 == hashlib.sha256(data).hexdigest()
    sarif = orjson.loads(data)
    assert_fits_the_official_schema(sarif)
    assert [run["tool"]["driver"]["name"] for run in sarif["runs"]] == ["bandit", "detect-secrets", "ruff", "lizard"]
    uris = {
        place["physicalLocation"]["artifactLocation"]["uri"]
        for run in sarif["runs"]
        for found in run["results"]
        for place in found["locations"]
    }
    assert uris == {"app/main.py"}
    assert token.encode() not in data

    # What health would have recorded; then a second analysis after one finding was mended and one added.
    runs.query(
        "INSERT INTO jobs (id, schedule_id, schedule_version, project_id, task_type, trigger, status, scheduled_for,"
        " attempt, result) VALUES (%s, 42, 1, 1, 'analysis', 'schedule', 'succeeded', %s, 1, %s)",
        (job, ended.scheduled_for, orjson.dumps(result).decode()),
    )
    mended = "\n\n" + CODE.replace("{token}", token).replace("os.system(command)", "os.remove(command)")
    commit(source, {"app/main.py": mended, "app/more.py": "eval(input())\n"})
    again = runs.ended(runs.due("analysis", {"repository_id": number, "analysis_type": "full"}, schedule_id=42), 60)
    compared = again.result["compared_with_previous"]
    assert compared["fixed"] >= 1
    assert compared["new"] >= 1
    assert compared["unchanged"] >= 2
    states = {
        (found["ruleId"], found["baselineState"])
        for run in orjson.loads(artifact(runs, again, "analysis.sarif"))["runs"]
        for found in run["results"]
    }
    assert {("B301", "unchanged"), ("B307", "new")} <= states


def test_nothing_of_a_repository_is_executed_or_decides_what_is_found(runs: Runs, tmp_path: Path) -> None:
    source, marker = tmp_path / "hostile", tmp_path / "executed"
    secret = tmp_path / "secret.py"
    secret.write_text("eval('outside')\n")
    evil = f"open({str(marker)!r}, 'w').write('x')\n"
    repository(
        source,
        {
            "app.py": "eval(input())\nimport os\n",
            ".bandit": "[bandit]\nskips = B307\nexclude = *\n",
            "ruff.toml": 'exclude = ["*"]\n',
            ".ruff.toml": 'extend = "/etc/passwd"\n',
            "setup.cfg": "[bandit]\nskips: B307\n",
            "pyproject.toml": '[tool.ruff]\nexclude = ["*"]\n[tool.bandit]\nskips = ["B307"]\n',
            ".secrets.baseline": "{",
            "ruff": "#!/bin/sh\ntouch {marker}\n".replace("{marker}", str(marker)),
            "bandit/__init__.py": evil,
            "bandit/__main__.py": evil,
            "yaml.py": evil,
            "sitecustomize.py": evil,
            "usercustomize.py": evil,
            "conftest.py": evil,
            "evil.pth": f"import os; os.system('touch {marker}')\n",
            "setup.py": evil,
            ".gitattributes": "*.py filter=evil diff=evil\n",
            ".gitmodules": f'[submodule "s"]\n\tpath = s\n\turl = ext::sh -c "touch {marker}"\n',
            ".gitignore": "*\n",
        },
    )
    (source / "link.py").symlink_to(secret)
    git(source, "add", "-f", "link.py")
    git(source, "commit", "--quiet", "-m", "link")
    git(source, "config", "filter.evil.smudge", f"touch {marker}")
    # What the source's own configuration would have its commands run, were it asked.
    for name in ("uploadpack.packObjectsHook", "core.fsmonitor", "core.sshCommand", "core.alternateRefsCommand"):
        git(source, "config", name, f"touch {marker}; exec")
    git(source, "config", "core.hooksPath", ".")
    for hook in ("post-checkout", "pre-receive", "post-upload-pack", "reference-transaction", "post-index-change"):
        (source / ".git" / "hooks" / hook).write_text(f"#!/bin/sh\ntouch {marker}\n")
        (source / ".git" / "hooks" / hook).chmod(0o755)
    runs.worker()
    ended = runs.ended(runs.due("analysis", {"repository_id": register(runs, str(source))}), 60)
    assert isinstance(ended, RunSucceeded), ended
    assert "bandit/B307" in ended.result["findings"]["by_rule"]
    assert "ruff/F401" in ended.result["findings"]["by_rule"]
    assert not marker.exists()
    # The link became a file that holds a path, which is no Python; following it would have found the eval outside.
    sarif = orjson.loads(artifact(runs, ended, "analysis.sarif"))
    assert _rules_at(sarif, "link.py") == {"invalid-syntax"}


def test_a_source_that_lacks_objects_has_nobody_fetch_them(runs: Runs, tmp_path: Path) -> None:
    """A partial clone would fetch on demand, by a program that its own configuration names."""
    source, marker = tmp_path / "partial", tmp_path / "executed"
    repository(source, {"app.py": "eval(input())\n"})
    blob = git(source, "rev-parse", "HEAD:app.py")
    (source / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    for name, value in {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": str(tmp_path / "elsewhere"),
        "remote.origin.uploadpack": f"touch {marker}; exec git-upload-pack",
    }.items():
        git(source, "config", name, value)
    runs.worker()
    ended = runs.ended(runs.due("analysis", {"repository_id": register(runs, str(source))}), 60)
    assert isinstance(ended, RunFailed)
    assert "git failed" in ended.error
    assert not marker.exists()


@pytest.mark.parametrize("name", ["..", ".git", ".GIT"])
def test_no_tree_leads_out_of_its_folder(runs: Runs, tmp_path: Path, name: str) -> None:
    source = tmp_path / "escaping"
    repository(source, {"hooks/post-checkout": "#!/bin/sh\n"})
    inner = bytes.fromhex(git(source, "rev-parse", "HEAD^{tree}"))
    raw = tmp_path / "tree"
    raw.write_bytes(b"40000 " + name.encode() + b"\0" + inner)
    tree = git(source, "hash-object", "-t", "tree", "--literally", "-w", str(raw))
    git(source, "update-ref", "refs/heads/trunk", git(source, "commit-tree", tree, "-m", "out"))
    runs.worker()
    ended = runs.ended(runs.due("analysis", {"repository_id": register(runs, str(source))}, max_attempts=3), 60)
    assert isinstance(ended, RunFailed)
    assert "invalid path" in ended.error
    assert ended.will_retry is False


def _rules_at(sarif: dict[str, Any], path: str) -> set[str]:
    return {
        found["ruleId"]
        for run in sarif["runs"]
        for found in run["results"]
        if found["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == path
    }


def test_what_cannot_be_fetched_fails_with_one_sentence(runs: Runs, tmp_path: Path) -> None:
    bare = tmp_path / "empty"
    bare.mkdir()
    repository(tmp_path / "large", {"noise.txt": "".join(f"{number * 7919:x}" for number in range(400_000))})
    runs.worker(allow_loopback="false", repository_limit_mb="1")
    cases = {
        "a large one": (register(runs, str(tmp_path / "large")), "the repository is larger than 1 MB"),
        "a missing row": (999, "repository 999 does not exist in project 1"),
        "no repository": (register(runs, str(bare)), "git failed"),
        "no folder": (register(runs, str(tmp_path / "nowhere")), "is no folder"),
        "a foreign protocol": (register(runs, "ext::sh -c 'touch /tmp/x'"), "https, ssh, or a local path"),
        "an option": (register(runs, "--upload-pack=touch /tmp/x"), "https, ssh, or a local path"),
        "this machine": (register(runs, "https://127.0.0.1/x.git"), "refused"),
        "metadata": (register(runs, "https://169.254.169.254/x.git"), "refused"),
        "an ssh option": (register(runs, "ssh://-oProxyCommand=touch/x"), "https, ssh, or a local path"),
    }
    jobs = {name: runs.due("analysis", {"repository_id": case[0]}, max_attempts=3) for name, case in cases.items()}
    for name, job in jobs.items():
        ended = runs.ended(job, 30)
        assert isinstance(ended, RunFailed), name
        assert cases[name][1] in ended.error, (name, ended.error)
        assert ended.will_retry is False, (name, ended.error)
