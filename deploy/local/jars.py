"""The jars of the embedded Kafka: pinned in `kafka.lock`, fetched once from Maven Central, verified before every start.

`python -m deploy.local.jars` writes the lock anew (`make lock`). The lock carries coordinates and sha256 sums, no
addresses; where the jars come from is jgo's own setting (`[repositories]` in jgo.conf; Maven Central without it).
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.local.errors import StackError

if TYPE_CHECKING:
    from jgo.maven import MavenContext

LOCK_FILE = Path(__file__).with_name("kafka.lock")
KAFKA_VERSION = "4.4.0"
KAFKA = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
LOG_BINDING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5"
"""From slf4j 1.7 to the log4j-core that Kafka brings along: without it the broker's log is empty. Taken alone: resolved
together with Kafka, its own managed versions would pull Kafka's jackson back."""
CONNECTIONS = 8
ATTEMPTS = 3


@dataclass(frozen=True)
class Jar:
    """One pinned jar."""

    coordinate: str
    """group:artifact:version"""
    sha256: str

    @property
    def filename(self) -> str:
        """Its file name, as Maven repositories have it."""
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


def read_lock(path: Path = LOCK_FILE) -> list[Jar]:
    """The pinned jars. Lines are `group:artifact:version sha256:<hex>`; `#` starts a comment."""
    lines = [line.split("#")[0].split() for line in path.read_text(encoding="utf-8").splitlines()]
    return [Jar(coordinate, digest.removeprefix("sha256:")) for coordinate, digest in (line for line in lines if line)]


def classpath(cache: Path, say: Callable[[str], None]) -> str:
    """The class path of the broker, every jar verified; missing ones are fetched first.

    Raises StackError when a jar cannot be fetched, or is not the one that was pinned.
    """
    directory = cache / "jars"
    jars = read_lock()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        missing = [jar for jar in jars if not (directory / jar.filename).exists()]
        if missing:
            _fetch(missing, directory, say)
        for jar in jars:
            _verify(jar, directory / jar.filename)
    except OSError as error:
        raise StackError(
            f"The jars of Kafka cannot be kept in {directory} ({error.strerror or error}): "
            "free some space there, or set COMMANDCENTER_CACHE to a directory that can be written."
        ) from error
    return ":".join(str(directory / jar.filename) for jar in jars)


def _verify(jar: Jar, path: Path) -> None:
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if digest != jar.sha256:
        raise StackError(
            f"{path} is not the jar that deploy/local/kafka.lock pins (sha256 {digest[:12]}… instead of "
            f"{jar.sha256[:12]}…): delete that file and start again; if it happens twice, do not trust its source."
        )


def _fetch(jars: list[Jar], directory: Path, say: Callable[[str], None]) -> None:
    """Fetch into a scratch directory and move each jar in place once verified: another start never sees half a jar."""
    say(f"Downloading Kafka {KAFKA_VERSION}: {len(jars)} jars, about 45 MB when none is there yet …")
    lock = threading.Lock()
    done, size = 0, 0
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix="fetch-") as scratch:
        context = _context(Path(scratch))

        def fetch(jar: Jar) -> None:
            nonlocal done, size
            fetched = _download(context, jar.coordinate)
            _verify(jar, fetched)
            fetched.replace(directory / jar.filename)
            with lock:
                done, size = done + 1, size + (directory / jar.filename).stat().st_size
                if done % 5 == 0 or done == len(jars):
                    say(f"  {done}/{len(jars)} jars, {size / 1e6:.0f} MB")

        with ThreadPoolExecutor(CONNECTIONS) as pool:
            for future in [pool.submit(fetch, jar) for jar in jars]:
                try:
                    future.result()
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise


def _download(context: MavenContext, coordinate: str) -> Path:
    import requests

    for attempt in range(1, ATTEMPTS + 1):
        artifact = context.create_dependency(coordinate).artifact
        try:
            path = context.resolver.download(artifact)
        except (requests.RequestException, RuntimeError) as error:  # RuntimeError: jgo's "not found in any repository"
            if artifact.cached_path is not None:
                artifact.cached_path.unlink(
                    missing_ok=True
                )  # jgo leaves half a file behind and refuses to overwrite it
            if attempt == ATTEMPTS:
                raise StackError(
                    f"{coordinate} could not be downloaded after {ATTEMPTS} tries ({type(error).__name__}): check the "
                    "connection to Maven Central, or name a mirror under [repositories] in jgo.conf."
                ) from error
            continue
        if path is None:
            raise StackError(f"{coordinate} was not found in any Maven repository.")
        return path
    raise AssertionError("unreachable")


def _context(repo_cache: Path) -> MavenContext:
    # jgo pulls in requests and XML parsing: only a start that must fetch something pays for that.
    import truststore
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext

    # requests trusts its own list of authorities; a company's proxy or mirror is known to the system's list.
    truststore.inject_into_ssl()
    mirrors = GlobalSettings.load().repositories
    return MavenContext(
        repo_cache=repo_cache,
        remote_repos={**mirrors, "central": MAVEN_CENTRAL_URL} if mirrors else None,
        timeout=60,
    )


def resolve() -> list[Jar]:
    """Resolve Kafka and what it needs at run time, fetch every jar and take its sum. Used to write the lock."""
    with tempfile.TemporaryDirectory() as scratch:
        context = _context(Path(scratch))
        kafka = context.create_dependency(KAFKA)
        kafka.scope = "compile"
        inputs, transitive = context.resolver.resolve([kafka])
        needed = [*inputs, *(found for found in transitive if found.scope in {"compile", "runtime"})]
        coordinates = sorted({LOG_BINDING, *(f"{jar.groupId}:{jar.artifactId}:{jar.version}" for jar in needed)})

        def pin(coordinate: str) -> Jar:
            with _download(context, coordinate).open("rb") as content:
                return Jar(coordinate, hashlib.file_digest(content, "sha256").hexdigest())

        with ThreadPoolExecutor(CONNECTIONS) as pool:
            return list(pool.map(pin, coordinates))


def write_lock(path: Path = LOCK_FILE) -> int:
    """Write the lock anew; returns the number of jars."""
    jars = resolve()
    lines = [
        f"# Apache Kafka {KAFKA_VERSION} and what it needs at run time. Written by `make lock`.",
        *(f"{jar.coordinate} sha256:{jar.sha256}" for jar in jars),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(jars)


if __name__ == "__main__":
    sys.stdout.write(f"{write_lock()} jars pinned in {LOCK_FILE.name}\n")
