"""The api stores a repository's URL only where the worker would fetch from it, and the other way round."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.api.actions.addresses import repository_problem
from services.api.settings import Settings as ApiSettings
from services.worker.git import judged
from services.worker.settings import Settings as WorkerSettings
from services.worker.task import PermanentError, TemporaryError

URLS = [
    ("https://127.0.0.1/a.git", True),
    ("https://[::1]:8443/a.git", True),
    ("https://localhost/a.git", True),
    ("http://127.0.0.1/a.git", False),
    ("http://localhost:3000/a.git", False),
    ("https://10.0.0.1/a.git", False),
    ("https://169.254.169.254/a.git", False),
    ("ssh://git@127.0.0.1:22/a.git", True),
    ("ssh://-oProxyCommand=x@127.0.0.1/a.git", False),
    ("git@127.0.0.1:a.git", True),
    ("git@127.0.0.1:-a.git", False),
    ("git@[::1]:a.git", False),
    ("git://127.0.0.1/a", False),
    ("ext::sh -c whoami", False),
    ("file:{folder}", False),
    ("file://elsewhere{folder}", False),
    ("file://{folder}", True),
    ("{folder}", True),
    ("../relative", False),
]


@pytest.mark.parametrize(("template", "accepted"), URLS)
def test_both_judge_alike(template: str, accepted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMANDCENTER_HOME", str(tmp_path))
    url = template.format(folder=tmp_path)
    assert (repository_problem(url, ApiSettings()) is None) is accepted
    assert _fetched(url, WorkerSettings()) is accepted


def test_local_paths_are_for_both_or_for_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMANDCENTER_HOME", str(tmp_path))
    monkeypatch.setenv("COMMANDCENTER_AUTH", "keys")
    for host, allowed, accepted in (("127.0.0.1", None, True), ("0.0.0.0", None, False), ("0.0.0.0", "true", True)):
        monkeypatch.setenv("COMMANDCENTER_HOST", host)
        if allowed is not None:
            monkeypatch.setenv("COMMANDCENTER_ALLOW_LOCAL_REPOSITORIES", allowed)
        assert (repository_problem(str(tmp_path), ApiSettings()) is None) is accepted
        assert _fetched(str(tmp_path), WorkerSettings()) is accepted


def _fetched(url: str, settings: WorkerSettings) -> bool:
    try:
        judged(url, settings)
    except PermanentError:
        return False
    except TemporaryError:
        return True  # a name that has no address now
    return True
