"""The artifact store in a folder and in a real S3 server: streamed, checked, bounded, and never outside of itself."""

from __future__ import annotations

import hashlib
import tracemalloc
from datetime import UTC, date, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import pytest

from shared.artifacts import ArtifactMissing, ArtifactRefused, ArtifactStore
from shared.events.types import RunSucceeded
from tests.integration.worker.bench_of_runs import Runs

DAY = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    if request.param == "folder":
        return ArtifactStore(str(tmp_path / "store"), max_bytes=50_000_000)
    url = request.getfixturevalue("s3_bucket")
    return ArtifactStore(f"{url}/commandcenter", max_bytes=50_000_000)


def test_files_come_back_as_they_went(store: ArtifactStore, tmp_path: Path) -> None:
    data = bytes(range(256)) * 50_000  # 12.8 MB: several parts in S3
    (tmp_path / "file").write_bytes(data)
    saved = store.save(DAY, 5, 1, "analysis.sarif", tmp_path / "file", "application/sarif+json")
    assert (saved.size, saved.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert b"".join(store.open(DAY, 5, 1, "analysis.sarif")) == data
    store.save(DAY, 5, 2, "analysis.sarif", BytesIO(b"second attempt"), "text/plain")
    assert b"".join(store.open(DAY, 5, 2, "analysis.sarif")) == b"second attempt"
    assert b"".join(store.open(DAY, 5, 1, "analysis.sarif")) == data
    store.remove(DAY, 5, 1, "analysis.sarif")
    store.remove(DAY, 5, 1, "analysis.sarif")
    with pytest.raises(ArtifactMissing):
        store.open(DAY, 5, 1, "analysis.sarif")


@pytest.mark.parametrize("name", ["../x", "a/b", "/etc/passwd", "..", ".hidden", "", "a\\b", "a\0b", "x" * 200, "ä"])
def test_no_name_leads_out_of_the_store(store: ArtifactStore, name: str) -> None:
    with pytest.raises(ArtifactRefused):
        store.save(DAY, 5, 1, name, BytesIO(b"x"), "text/plain")
    with pytest.raises(ArtifactRefused):
        store.open(DAY, 5, 1, name)


class _Endless(BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        return b"x" * (size or 1)


def test_what_is_too_large_is_refused_and_leaves_nothing(store: ArtifactStore) -> None:
    tracemalloc.start()
    with pytest.raises(ArtifactRefused, match="larger than"):
        store.save(DAY, 6, 1, "endless", cast("Any", _Endless()), "text/plain")
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40_000_000, "streamed, not gathered"
    with pytest.raises(ArtifactMissing):
        store.open(DAY, 6, 1, "endless")


def test_whole_days_expire(store: ArtifactStore) -> None:
    for day in (1, 2, 3):
        store.save(DAY.replace(day=day), day, 1, "report.csv", BytesIO(b"x"), "text/csv")
    assert store.expire(date(2026, 3, 3), [date(2026, 3, 2)]) == 1
    assert b"".join(store.open(DAY.replace(day=2), 2, 1, "report.csv")) == b"x"
    assert store.expire(date(2026, 3, 3)) == 1
    assert store.expire(date(2026, 3, 3)) == 0
    with pytest.raises(ArtifactMissing):
        store.open(DAY.replace(day=2), 2, 1, "report.csv")
    assert b"".join(store.open(DAY.replace(day=3), 3, 1, "report.csv")) == b"x"


def test_a_workers_runs_leave_their_files_in_s3(runs: Runs, s3_bucket: str) -> None:
    runs.worker(artifacts_url=f"{s3_bucket}/commandcenter")
    ended = runs.ended(runs.due("export", {"format": "json", "report_type": "schedules"}), 30)
    assert isinstance(ended, RunSucceeded)
    (artifact,) = ended.artifacts
    stored = ArtifactStore(f"{s3_bucket}/commandcenter").open(ended.scheduled_for, ended.job_id, 1, artifact.name)
    content = b"".join(stored)
    assert (len(content), hashlib.sha256(content).hexdigest()) == (artifact.size, artifact.sha256)
    assert artifact.media_type == "application/json"
    assert not (runs.home / "artifacts").exists()
