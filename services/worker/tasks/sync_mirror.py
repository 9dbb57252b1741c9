"""One repository's mirror: a bare clone in the worker's home that holds every branch, and what is new in it.

Used by sync. Fetching is services/worker/git.py's, with its limits; nothing of the repository is ever executed.
"""

import fcntl
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from services.worker.git import Bare, RepositoryTooLarge, Source, judged
from services.worker.settings import Settings
from services.worker.task import PermanentError, TemporaryError
from shared import clock

_WAIT_SECONDS = 30.0
"""For another run that syncs the same repository."""
_MOST_BRANCHES = 20_000
_GC_PACKS = 30
_GC_LOOSE = 5_000
_TOO_LARGE = ("signal 25", "file too large")
_BROKEN = (
    "bad object", "bad tree", "corrupt", "unable to read", "missing blob", "missing tree", "missing commit",
    "loose object", "is empty", "invalid sha1 pointer", "did not send all necessary objects", "packfile",
)  # fmt: skip
"""Words of git by which a mirror, not its source, is at fault."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit, as reports show it."""

    sha: str
    author: str
    at: str
    subject: str


@dataclass(frozen=True, slots=True)
class Moved:
    """A branch that points elsewhere than last time; `rewritten` where commits were taken away from it."""

    name: str
    before: str
    after: str
    rewritten: bool


@dataclass(frozen=True, slots=True)
class News:
    """What is new since the baseline. Lists are cut at the number asked for; the counts are whole."""

    commit_count: int = 0
    commits: list[Commit] = field(default_factory=list)
    new_branches: list[str] = field(default_factory=list)
    new_branch_count: int = 0
    moved: list[Moved] = field(default_factory=list)
    moved_count: int = 0
    deleted_branches: list[str] = field(default_factory=list)
    deleted_branch_count: int = 0


class Mirror:
    """A mirror that this run alone may touch."""

    def __init__(self, directory: Path, settings: Settings) -> None:
        self._directory = directory
        self._settings = settings
        self._bare = Bare(directory, settings)
        self._limit_bytes = settings.repository_limit_mb << 20
        self.rebuilt = False

    @classmethod
    @contextmanager
    def opened(cls, repository_id: int, settings: Settings) -> Iterator["Mirror"]:
        """The mirror of a repository. Raises TemporaryError when another run holds it for long."""
        root = settings.home.absolute() / "mirrors"
        root.mkdir(parents=True, exist_ok=True)
        with (root / f"{repository_id}.lock").open("w") as lock:
            _take(lock)
            yield cls(root / f"{repository_id}.git", settings)

    def forget(self) -> None:
        """Throw it away: it mirrors something else now."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def update(self, url: str) -> dict[str, str]:
        """Make it hold what the source holds; returns the branches. A mirror that is broken is made anew, once."""
        source = judged(url, self._settings)
        existed = self._directory.exists()
        try:
            try:
                branches = self._fetched(source)
            except TemporaryError as error:
                if not existed or not _says(error, _BROKEN):
                    raise
                self.forget()
                self.rebuilt = True
                branches = self._fetched(source)
        except RepositoryTooLarge:
            self.forget()
            raise
        except TemporaryError as error:
            if _says(error, _TOO_LARGE):
                self.forget()
                raise self._too_large() from error
            raise
        if len(branches) > _MOST_BRANCHES:
            raise PermanentError(f"the repository has {len(branches)} branches; up to {_MOST_BRANCHES} are followed")
        return branches

    def _fetched(self, source: Source) -> dict[str, str]:
        self._bare.ensure()
        for broken in self._directory.parent.glob(f"{self._directory.name}.broken-*"):
            shutil.rmtree(broken, ignore_errors=True)
            self.rebuilt = True
        self._bare.fetch(source, "+refs/heads/*:refs/heads/*", prune=True)
        return self.branches()

    def branches(self) -> dict[str, str]:
        """Branch names and their commits' ids."""
        listing = self._bare.git("for-each-ref", "--format=%(objectname) %(refname:lstrip=2)", "refs/heads")
        return {name: sha for sha, _, name in (line.partition(" ") for line in listing.split("\n") if line)}

    def tidy(self) -> int:
        """Repack when there are many packs or leftovers; returns the size in bytes.

        Raises PermanentError above the limit, and removes the mirror: a large repository must not fill the disk.
        """
        counted = self._counted()
        if counted["packs"] > _GC_PACKS or counted["count"] > _GC_LOOSE or counted["garbage"]:
            self._bare.git("gc", "--quiet", "--prune=now")
            counted = self._counted()
        size = (counted["size"] + counted["size-pack"] + counted["size-garbage"]) << 10
        if size > self._limit_bytes:
            self.forget()
            raise self._too_large()
        return size

    def news(self, before: Mapping[str, str] | None, after: Mapping[str, str], listed: int) -> News:
        """What `after` has that `before` had not; None: everything is new. At most `listed` entries a list."""
        old = before or {}
        tips = sorted(set(after.values()) - set(old.values()))
        # Commits of a history that was rewritten may be gone from the mirror: they exclude nothing then.
        range_ = ["--ignore-missing", *tips, "--not", *sorted(set(old.values()))]
        count = int(self._bare.git("rev-list", "--count", *range_, "--")) if tips else 0
        new = sorted(set(after) - set(old))
        moved = sorted(name for name in after if name in old and after[name] != old[name])
        gone = sorted(set(old) - set(after))
        return News(
            commit_count=count,
            commits=self._commits(range_, listed) if count and listed else [],
            new_branches=new[:listed],
            new_branch_count=len(new),
            moved=[Moved(name, old[name], after[name], self._lost(old[name], after[name])) for name in moved[:listed]],
            moved_count=len(moved),
            deleted_branches=gone[:listed],
            deleted_branch_count=len(gone),
        )

    def _commits(self, range_: list[str], listed: int) -> list[Commit]:
        form = "--format=%H%x00%an%x00%aI%x00%s"
        listing = self._bare.git("log", f"--max-count={listed}", "--no-show-signature", form, *range_, "--")
        return [Commit(*line.split("\0", 3)) for line in listing.split("\n") if line]

    def _lost(self, before: str, after: str) -> bool:
        try:
            return bool(self._bare.git("rev-list", "--max-count=1", before, "--not", after, "--").strip())
        except (TemporaryError, PermanentError):
            return True  # the commit of last time is not there any more: nothing of it was kept

    def _counted(self) -> dict[str, int]:
        lines = self._bare.git("count-objects", "-v").splitlines()
        found = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return {name: int(found[name]) for name in ("count", "size", "packs", "size-pack", "garbage", "size-garbage")}

    def _too_large(self) -> PermanentError:
        return PermanentError(f"the repository is larger than {self._limit_bytes >> 20} MB")


def _take(lock: IO[str]) -> None:
    deadline = clock.monotonic() + _WAIT_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock.monotonic() >= deadline:
                raise TemporaryError("another run is syncing this repository") from None
            time.sleep(0.1)
        else:
            return


def _says(error: Exception, words: tuple[str, ...]) -> bool:
    said = str(error).lower()
    return any(one in said for one in words)
