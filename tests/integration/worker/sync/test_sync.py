"""Syncs by the real handler: real repositories, the git program, a real database; and sources that misbehave."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.worker.settings import Settings
from services.worker.task import PermanentError, TemporaryError
from services.worker.tasks import sync_mirror
from shared.storage.database import Database
from tests.hostile_server import HostileServer
from tests.integration.worker.sync.repositories import Syncer, Work
from tests.servers import TestServers


@pytest.fixture(scope="module")
def database(test_servers: TestServers) -> Iterator[Database]:
    """One for the module: each test sweeps it first, which is faster than a new one."""
    url = test_servers.create_database(migrated=True)
    opened = Database(url, application="test")
    yield opened
    opened.close()
    test_servers.drop_database(url)


@pytest.fixture
def syncer(database: Database, tmp_path: Path) -> Syncer:
    with database.transaction() as connection:
        for statement in ("mirrors", "repositories", "projects WHERE id <> 1"):
            connection.exec_driver_sql(f"DELETE FROM {statement}")
    return Syncer(Settings(database_url=database.url, home=tmp_path / "home", repository_timeout_seconds=20), database)


@pytest.fixture
def work(tmp_path: Path) -> Work:
    made = Work(tmp_path / "work")
    made.commit("first")
    made.commit("second")
    return made


def test_the_first_sync_clones_and_the_next_tells_only_what_is_new(syncer: Syncer, work: Work) -> None:
    repository = syncer.repository(str(work.folder), name="tool")
    first = syncer.one(repository)
    assert (first["status"], first["first"], first["name"], first["branches"]) == ("synced", True, "tool", 1)
    assert (first["new_commits"], first["new_branches"]) == (2, {"count": 1, "names": ["main"]})
    assert [one["subject"] for one in first["commits"]] == ["second", "first"]
    assert first["size_bytes"] > 0

    quiet = syncer.one(repository, job_id=2)
    assert (quiet["first"], quiet["new_commits"], quiet["commits"]) == (False, 0, [])
    assert quiet["new_branches"]["count"] == quiet["moved_branches"]["count"] == 0

    before = work.git("rev-parse", "main")
    third = work.commit("third: ☃ \u2028 and\ttabs")
    work.git("branch", "feature/x")
    news = syncer.one(repository, job_id=3)
    assert news["new_commits"] == 1
    assert [(one["sha"], one["subject"], one["author"]) for one in news["commits"]] == [
        (third, "third: ☃ \u2028 and\ttabs", "Ann Author")
    ]
    assert news["new_branches"] == {"count": 1, "names": ["feature/x"]}
    assert news["moved_branches"] == {
        "count": 1,
        "branches": [{"name": "main", "from": before, "to": third, "rewritten": False}],
    }
    mirror = syncer.mirror(repository)
    shown = subprocess.run(
        ["git", f"--git-dir={mirror}", "rev-parse", "main", "feature/x"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.split() == [third, third]


def test_branches_that_go_and_histories_that_are_rewritten(syncer: Syncer, work: Work) -> None:
    work.git("branch", "old")
    repository = syncer.repository(f"file://{work.folder}")
    syncer.sync(repository)
    work.git("branch", "-D", "old")
    work.git("branch", "old/below")  # where a branch was, a folder of branches is now
    work.git("reset", "--quiet", "--hard", "HEAD~1")
    work.commit("instead")
    news = syncer.one(repository, job_id=2)
    assert news["deleted_branches"] == {"count": 1, "names": ["old"]}
    assert news["new_branches"] == {"count": 1, "names": ["old/below"]}
    assert [(one["name"], one["rewritten"]) for one in news["moved_branches"]["branches"]] == [("main", True)]
    assert (news["new_commits"], news["commits"][0]["subject"]) == (1, "instead")


def test_a_retry_tells_the_jobs_news_again(syncer: Syncer, work: Work) -> None:
    repository = syncer.repository(str(work.folder))
    assert syncer.one(repository, job_id=1)["new_commits"] == 2
    assert syncer.one(repository, job_id=1)["new_commits"] == 2
    assert syncer.one(repository, job_id=1)["first"] is True
    work.commit("third")
    assert [syncer.one(repository, job_id=2)["new_commits"] for _ in range(2)] == [1, 1]
    assert syncer.one(repository, job_id=3)["new_commits"] == 0


def test_each_repository_has_its_own_outcome(syncer: Syncer, work: Work, tmp_path: Path) -> None:
    good = [syncer.repository(str(work.folder)) for _ in range(2)]
    missing = syncer.repository(str(tmp_path / "nowhere"), name="gone")
    inner = syncer.repository("https://169.254.169.254/x.git", name="inner")
    with pytest.raises(
        PermanentError, match=r"2 of 4 repositories failed: gone: .* is no folder.*; inner: .*metadata"
    ) as failed:
        syncer.sync()
    result = failed.value.result
    assert result is not None
    assert (result["synced"], result["failed"], result["new_commits"]) == (2, 2, 4)
    assert {one["repository_id"]: one["status"] for one in result["repositories"]} == {
        good[0]: "synced",
        good[1]: "synced",
        missing: "failed",
        inner: "failed",
    }


def test_a_project_without_repositories_has_nothing_to_do(syncer: Syncer) -> None:
    assert syncer.sync() == {"synced": 0, "failed": 0, "new_commits": 0, "new_branches": 0, "repositories": []}


def test_a_foreign_projects_repository_is_none(syncer: Syncer, work: Work) -> None:
    with syncer.database.transaction() as connection:
        connection.exec_driver_sql("INSERT INTO projects (id, name) VALUES (2, 'other')")
    foreign = syncer.repository(str(work.folder), project_id=2)
    for repository in (foreign, 404):
        with pytest.raises(PermanentError, match=f"project 1 has no repository {repository}"):
            syncer.sync(repository)
    assert syncer.sync()["repositories"] == []


@pytest.mark.parametrize(
    "url",
    ["ext::sh -c 'touch pwned'", "--upload-pack=touch pwned", "git://127.0.0.1/x", "fd::17", "http://127.0.0.1/x.git",
     "https://10.0.0.1/x.git", "ssh://-oProxyCommand=touch/x", "git@169.254.169.254:x.git", "https://[fd00:ec2::254]/x"],
)  # fmt: skip
def test_what_is_never_fetched(syncer: Syncer, url: str) -> None:
    repository = syncer.repository(url)
    with pytest.raises(PermanentError, match="repository's"):
        syncer.sync(repository)
    assert not syncer.mirror(repository).exists()


def test_nothing_of_the_repository_is_executed(syncer: Syncer, work: Work, tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    hooks = work.folder / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-checkout", "post-merge", "reference-transaction", "pre-receive", "update", "post-upload-pack"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {trace}\n")
        (hooks / name).chmod(0o755)
    (work.folder / ".gitattributes").write_text("* filter=evil\n")
    (work.folder / ".gitmodules").write_text('[submodule "x"]\n\tpath = x\n\turl = ext::touch\n')
    work.git("config", "filter.evil.smudge", f"touch {trace}")
    work.git("config", "core.fsmonitor", f"touch {trace}")
    work.git("config", "uploadpack.packObjectsHook", f"touch {trace}")
    repository = syncer.repository(str(work.folder))
    hidden = subprocess.run(
        ["git", "-c", "core.fsmonitor=", "-C", work.folder, "add", ".gitattributes", ".gitmodules"], check=False
    )
    assert hidden.returncode == 0
    trace.unlink(missing_ok=True)  # a user's own git may have run his own configuration
    assert syncer.one(repository)["status"] == "synced"
    assert not trace.exists()


def test_a_source_that_never_answers_is_cut_in_time(syncer: Syncer) -> None:
    with HostileServer() as server:
        repository = syncer.repository(f"https://127.0.0.1:{server.port}/silent/x.git")
        started = time.monotonic()
        with pytest.raises(TemporaryError, match="git took longer than 1 s"):
            syncer.sync(repository, repository_timeout_seconds=1)
        assert time.monotonic() - started < 5


def test_the_runs_time_limit_leaves_time_to_report(syncer: Syncer, work: Work) -> None:
    with HostileServer() as server:
        slow = syncer.repository(f"https://127.0.0.1:{server.port}/silent/x.git")
        late = syncer.repository(str(work.folder))
        with pytest.raises(TemporaryError) as failed:
            syncer.sync(timeout_seconds=2.0)
    assert failed.value.result is not None
    errors = {one["repository_id"]: one["error"] for one in failed.value.result["repositories"]}
    assert errors == {slow: "git took longer than 1 s", late: "the run's time limit came first"}


def test_a_repository_above_the_limit_leaves_nothing_behind(syncer: Syncer, work: Work) -> None:
    work.commit("large", os.urandom(3 << 20))
    repository = syncer.repository(str(work.folder))
    with pytest.raises(PermanentError, match="the repository is larger than 1 MB"):
        syncer.sync(repository, repository_limit_mb=1)
    assert not syncer.mirror(repository).exists()
    assert syncer.one(repository, repository_limit_mb=10)["new_commits"] == 3


def test_many_small_objects_above_the_limit_leave_nothing_behind(syncer: Syncer, work: Work) -> None:
    repository = syncer.repository(str(work.folder))
    for number in range(1, 5):
        work.commit(f"part {number}", os.urandom(250_000))
        syncer.sync(repository, job_id=number)
    work.commit("one too many", os.urandom(250_000))
    with pytest.raises(PermanentError, match="the repository is larger than 1 MB"):
        syncer.sync(repository, job_id=9, repository_limit_mb=1)
    assert not syncer.mirror(repository).exists()


def test_a_broken_mirror_is_made_anew_and_the_news_stay_right(syncer: Syncer, work: Work) -> None:
    repository = syncer.repository(str(work.folder))
    syncer.sync(repository, job_id=1)
    ruins: list[Callable[[Path], None]] = [_empty_the_objects, _lose_the_head, shutil.rmtree]
    for job, ruin in enumerate(ruins, start=2):
        work.commit(f"news {job}")
        ruin(syncer.mirror(repository))
        news = syncer.one(repository, job_id=job)
        assert (news["status"], news["first"], news["new_commits"]) == ("synced", False, 1), ruin
        assert news["commits"][0]["subject"] == f"news {job}"


def _empty_the_objects(mirror: Path) -> None:
    for folder in (mirror / "objects").iterdir():
        shutil.rmtree(folder)


def _lose_the_head(mirror: Path) -> None:
    (mirror / "HEAD").unlink()


def test_locks_and_leftovers_of_a_killed_fetch_are_cleared(syncer: Syncer, work: Work) -> None:
    repository = syncer.repository(str(work.folder))
    syncer.sync(repository)
    mirror = syncer.mirror(repository)
    (mirror / "refs" / "heads" / "main.lock").touch()
    (mirror / "packed-refs.lock").touch()
    (mirror / "objects" / "pack").mkdir(exist_ok=True)
    leftover = mirror / "objects" / "pack" / "tmp_pack_abc"
    leftover.write_bytes(b"x" * 1_000)
    work.commit("third")
    assert syncer.one(repository, job_id=2)["new_commits"] == 1
    assert not leftover.exists()


def test_two_runs_do_not_touch_one_mirror_at_once(syncer: Syncer, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = syncer.repository(str(work.folder))
    monkeypatch.setattr(sync_mirror, "_WAIT_SECONDS", 0.3)
    (syncer.settings.home / "mirrors").mkdir(parents=True)
    with (syncer.settings.home / "mirrors" / f"{repository}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(TemporaryError, match="another run is syncing this repository"):
            syncer.sync(repository)
    assert syncer.one(repository)["status"] == "synced"


def test_a_repository_that_moved_is_a_first_sync_again(syncer: Syncer, work: Work, tmp_path: Path) -> None:
    repository = syncer.repository(str(work.folder))
    syncer.sync(repository)
    other = Work(tmp_path / "other")
    other.commit("another history")
    syncer.point(repository, str(other.folder))
    moved = syncer.one(repository, job_id=2)
    assert (moved["first"], moved["new_commits"], moved["branches"]) == (True, 1, 1)


def test_an_empty_repository_is_synced(syncer: Syncer, tmp_path: Path) -> None:
    empty = Work(tmp_path / "empty")
    repository = syncer.repository(str(empty.folder))
    assert (syncer.one(repository)["branches"], syncer.one(repository)["new_commits"]) == (0, 0)
    empty.commit("at last")
    assert syncer.one(repository, job_id=2)["new_commits"] == 1
