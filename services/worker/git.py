"""Fetches repositories with the git program: into a cache, within limits, executing nothing of theirs.

Used by analysis and sync, in child processes. No hook, filter, submodule, credential prompt, user or system
configuration takes part; only the allowed protocols do; http and ssh connect to an address that the rules have judged.
"""

import fcntl
import os
import re
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from services.worker.settings import Settings
from services.worker.task import PermanentError, TemporaryError
from shared.net.addresses import AddressRefused, AddressRules, NameUnknown, resolve_now

_SCP_LIKE = re.compile(r"(?P<user>[A-Za-z0-9._-]+)@(?P<host>[A-Za-z0-9.-]+):(?P<path>[^-].*)")
_BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,199}")
HEAD = "refs/commandcenter/head"

# Words of git by which a failure is known to come again.
_HOPELESS = (
    "not found",
    "does not exist",
    "does not appear to be a git repository",
    "couldn't find remote ref",
    "authentication failed",
    "permission denied",
    "could not read username",
    "not allowed",
    "invalid path",  # a tree that leads out of its folder, or into .git
)


class RepositoryTooLarge(PermanentError):
    """What git would write passes the limit. Whoever keeps a mirror must not keep the torso."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a repository is fetched from, judged: the URL for git and the configuration that pins its address."""

    url: str
    configuration: tuple[str, ...] = ()
    ssh: str | None = None


def judged(url: str, settings: Settings) -> Source:
    """Check a repository's URL against the rules. Raises PermanentError; TemporaryError for a name without answer."""
    try:
        if url.startswith(("/", "file://")):
            return _local(url, settings)
        if (match := _SCP_LIKE.fullmatch(url)) is not None:
            return _ssh(f"ssh://{match['user']}@{match['host']}/{match['path'].lstrip('/')}", settings)
        parts = urlsplit(url)
        if parts.scheme == "ssh" and parts.hostname and not parts.netloc.startswith("-"):
            return _ssh(url, settings)
        if parts.scheme == "https" and parts.hostname:
            port = parts.port or 443
            found = resolve_now(parts.hostname, port, AddressRules.of(settings))
            if ":" in parts.hostname:
                return Source(url)  # an IPv6 address names itself; curl reads no pin for one
            addresses = ",".join(f"[{one}]" if ":" in one else one for one in found)
            return Source(url, ("-c", f"http.curloptResolve={parts.hostname}:{port}:{addresses}"))
    except AddressRefused as error:
        raise PermanentError(f"the repository's address is refused: {error}") from error
    except NameUnknown as error:
        raise TemporaryError(str(error)) from error
    except ValueError as error:
        raise PermanentError(f"{url} is no repository URL: {error}") from error
    raise PermanentError("a repository's URL is https, ssh, or a local path where that is allowed")


def _local(url: str, settings: Settings) -> Source:
    if not settings.local_repositories:
        raise PermanentError("local repositories are not allowed (COMMANDCENTER_ALLOW_LOCAL_REPOSITORIES)")
    path = Path(url.removeprefix("file://"))
    if not path.is_dir():
        raise PermanentError(f"{path} is no folder on the worker's machine")
    return Source(f"file://{path.resolve()}")


def _ssh(url: str, settings: Settings) -> Source:
    parts = urlsplit(url)
    host = parts.hostname or ""
    address = resolve_now(host, parts.port or 22, AddressRules.of(settings))[0]
    options = f"-oHostName={address} -oHostKeyAlias={host} -oStrictHostKeyChecking=accept-new -oConnectTimeout=15"
    return Source(url, ssh=f"ssh -oBatchMode=yes -oProxyCommand=none {options}")


class GitCache:
    """Bare repositories by repository id, in a folder of this worker's home."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._root = settings.home.absolute() / "repositories"
        self._root.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def opened(self, repository_id: int) -> Iterator["Bare"]:
        """The cached repository, for one user at a time."""
        directory = self._root / f"{repository_id}.git"
        with (self._root / f"{repository_id}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            bare = Bare(directory, self._settings)
            bare.ensure()
            yield bare


class Bare:
    """One bare repository in the cache."""

    def __init__(self, directory: Path, settings: Settings) -> None:
        self.directory = directory
        self._settings = settings

    def ensure(self) -> None:
        """Create it, or create it anew when it is broken."""
        if self.directory.exists():
            try:
                self.git("rev-parse", "--git-dir")
                return
            except TemporaryError:
                self.directory.rename(self.directory.with_name(f"{self.directory.name}.broken-{os.getpid()}"))
        self.git("init", "--quiet", "--bare", "--template=", str(self.directory), inside=False)

    def fetch_tip(self, source: Source, branch: str | None) -> str:
        """Fetch one branch's newest commit (None: the remote's default), nothing older; returns the commit's id."""
        if branch is not None and not _BRANCH.fullmatch(branch):
            raise PermanentError(f"{branch!r} is no branch name")
        tip = "HEAD" if branch is None else f"refs/heads/{branch}"
        self.fetch(source, f"+{tip}:{HEAD}", depth=1)
        return self.git("rev-parse", f"{HEAD}^{{commit}}").strip()

    def fetch(self, source: Source, refspec: str, *, depth: int | None = None, prune: bool = False) -> None:
        """Fetch from the judged source."""
        options = ["--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--force", "--quiet"]
        options += [f"--depth={depth}"] if depth else []
        options += ["--prune"] if prune else []
        # A lock that a killed fetch left behind: we hold the only right to this folder.
        for stale in self.directory.rglob("*.lock"):
            stale.unlink(missing_ok=True)
        self.git(*source.configuration, "fetch", *options, "--", source.url, refspec, ssh=source.ssh)

    def default_branch(self, source: Source) -> str | None:
        """The name of the remote's default branch, None where it has none."""
        answer = self.git(*source.configuration, "ls-remote", "--symref", "--", source.url, "HEAD", ssh=source.ssh)
        match = re.match(r"ref: refs/heads/(\S+)\tHEAD", answer)
        return match[1] if match else None

    def check_out(self, commit: str, folder: Path) -> None:
        """Write the commit's files into an empty folder; symbolic links become plain files, so none leads outside."""
        self._within_limits(commit)
        place = {"GIT_INDEX_FILE": str(folder.with_name(f"{folder.name}.index")), "GIT_WORK_TREE": str(folder)}
        self.git("read-tree", commit, extra=place)
        self.git("checkout-index", "--all", "--force", extra=place)

    def _within_limits(self, commit: str) -> None:
        """Count the commit's files before any is written: a few kilobytes of history can unfold to billions of them."""
        command = ["git", f"--git-dir={self.directory}", "ls-tree", "-r", "-l", "-z", "--full-tree", commit]
        files_limit, bytes_limit = self._settings.repository_files_limit, self._settings.repository_limit_mb << 20
        files, size, rest = 0, 0, b""
        with subprocess.Popen(
            command, cwd="/", env=self._environment(None), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        ) as listing:
            while listing.stdout is not None and (chunk := listing.stdout.read(1 << 16)):
                *entries, rest = (rest + chunk).split(b"\0")
                files += len(entries)
                # "mode type id size<TAB>path"; the size of a submodule is "-"
                sizes = (entry.partition(b"\t")[0].split()[-1] for entry in entries)
                size += sum(int(one) for one in sizes if one.isdigit())
                if files > files_limit or size > bytes_limit:
                    listing.kill()
                    what = f"{files_limit} files" if files > files_limit else f"{bytes_limit >> 20} MiB"
                    raise PermanentError(f"the repository has more than {what} in one commit")

    def git(
        self, *arguments: str, inside: bool = True, ssh: str | None = None, extra: dict[str, str] | None = None
    ) -> str:
        """Run git; its output. Raises PermanentError or TemporaryError with git's own last words."""
        configuration = [
            *("-c", "core.hooksPath=/dev/null", "-c", "core.symlinks=false", "-c", "core.fsmonitor=false"),
            *("-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "http.followRedirects=false"),
            *("-c", "credential.helper=", "-c", "core.longpaths=true", "-c", "transfer.fsckObjects=false"),
        ]
        where = [f"--git-dir={self.directory}"] if inside else []
        try:
            done = subprocess.run(
                ["git", *where, *configuration, *arguments],
                cwd="/",
                env=self._environment(ssh) | (extra or {}),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self._settings.repository_timeout_seconds,
                preexec_fn=self._limit,  # the processes of handlers have one thread
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise TemporaryError(f"git took longer than {error.timeout:g} s") from error
        except FileNotFoundError as error:
            raise PermanentError("the git program is not installed on this worker") from error
        if done.returncode != 0:
            raise self._failure(done.stderr.decode(errors="replace"), done.returncode)
        return done.stdout.decode(errors="replace")

    def _failure(self, said: str, code: int) -> PermanentError | TemporaryError:
        if code == -signal.SIGXFSZ or f"signal {signal.SIGXFSZ}" in said:
            return RepositoryTooLarge(f"the repository is larger than {self._settings.repository_limit_mb} MB")
        lines = [line for line in said.strip().splitlines() if line.strip()]
        telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote:"))] or lines
        sentence = f"git failed: {telling[0] if telling else f'exit code {code}'}"[:500]
        hopeless = any(words in said.lower() for words in _HOPELESS)
        return PermanentError(sentence) if hopeless else TemporaryError(sentence)

    def _environment(self, ssh: str | None) -> dict[str, str]:
        """Only what git needs: no proxy, no configuration but a file of ours, no prompt, no foreign protocol."""
        configuration = self.directory.parent / "git.config"
        if not configuration.exists():
            configuration.write_text("[safe]\n\tdirectory = *\n", encoding="ascii")
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": os.environ.get("HOME", "/"),  # where ssh keeps its keys
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(configuration),
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_NO_LAZY_FETCH": "1",  # a source that lacks objects would have its own configuration fetch them
            "GIT_ASKPASS": "/bin/false",
            "GIT_ALLOW_PROTOCOL": "https:ssh:file" if self._settings.local_repositories else "https:ssh",
            "GIT_SSH_COMMAND": ssh or "/bin/false",
        }

    def _limit(self) -> None:
        size = self._settings.repository_limit_mb << 20
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
