"""The artifact store: files that runs leave behind, in a local folder or in S3 (fsspec).

Workers write with `save`, the api serves with `open`, housekeeping removes whole days with `expire`. A file lies
under `<day of scheduled_for>/<job>/<attempt>/<name>`, so that retention deletes folders and a failed attempt's
leftovers never mix with the next one's. No name can lead out of the store.
"""

import hashlib
import re
from collections.abc import Collection, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import IO, Any, BinaryIO

import fsspec

from shared.events.types import Artifact

CHUNK = 1 << 20
PART = 8 << 20
"""Bytes that a store in S3 gathers before it sends them."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class ArtifactRefused(Exception):
    """A name that is no plain file name, or a file that is too large. Permanent."""


class ArtifactMissing(Exception):
    """The store has no such file (any more)."""


class ArtifactStore:
    """Files by (scheduled_for, job, attempt, name). `url`: a folder, or anything fsspec opens (`s3://bucket/path`)."""

    def __init__(self, url: str, *, max_bytes: int = 1 << 30, options: dict[str, Any] | None = None) -> None:
        self._max_bytes = max_bytes
        self._files, self._root = fsspec.core.url_to_fs(url, **(options or {}))

    def save(
        self, scheduled_for: datetime, job_id: int, attempt: int, name: str, source: Path | BinaryIO, media_type: str
    ) -> Artifact:
        """Store a file, streamed, and return its record. Raises ArtifactRefused; a half-written file is removed."""
        path = self._path(scheduled_for, job_id, attempt, name)
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        if isinstance(source, Path):
            with source.open("rb") as stream:
                size, digest = self._write(path, stream)
        else:
            size, digest = self._write(path, source)
        return Artifact(name=name, media_type=media_type, size=size, sha256=digest)

    def open(self, scheduled_for: datetime, job_id: int, attempt: int, name: str) -> Iterator[bytes]:
        """The file in chunks. Raises ArtifactMissing (or ArtifactRefused) before the first chunk."""
        path = self._path(scheduled_for, job_id, attempt, name)
        try:
            stream = self._files.open(path, "rb")
        except FileNotFoundError as error:
            raise ArtifactMissing(f"{name} of job {job_id} is not in the store") from error
        return _chunks(stream)

    def remove(self, scheduled_for: datetime, job_id: int, attempt: int, name: str) -> None:
        """Forget one file; harmless when it is gone."""
        path = self._path(scheduled_for, job_id, attempt, name)
        if self._files.exists(path):
            self._files.rm(path)

    def expire(self, before: date, kept: Collection[date] = ()) -> int:
        """Remove every day before that one, except those kept; returns how many days went."""
        removed = 0
        if not self._files.exists(self._root):
            return removed
        for entry in self._files.ls(self._root, detail=False):
            try:
                day = date.fromisoformat(str(entry).rstrip("/").rpartition("/")[2])
            except ValueError:
                continue  # not a folder of ours
            if day < before and day not in kept:
                self._files.rm(entry, recursive=True)
                removed += 1
        return removed

    def _path(self, scheduled_for: datetime, job_id: int, attempt: int, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ArtifactRefused(f"{name!r} is no file name: letters, digits, dots, - and _, at most 128")
        return f"{self._root}/{scheduled_for.date().isoformat()}/{int(job_id)}/{int(attempt)}/{name}"

    def _write(self, path: str, source: IO[bytes]) -> tuple[int, str]:
        digest, size = hashlib.sha256(), 0
        try:
            with self._files.open(path, "wb", block_size=PART) as target:
                while chunk := source.read(CHUNK):
                    size += len(chunk)
                    if size > self._max_bytes:
                        raise ArtifactRefused(f"the file is larger than {self._max_bytes} bytes")  # noqa: TRY301
                    digest.update(chunk)
                    target.write(chunk)
        except ArtifactRefused:
            if self._files.exists(path):
                self._files.rm(path)
            raise
        return size, digest.hexdigest()


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    with stream:
        while chunk := stream.read(CHUNK):
            yield chunk
