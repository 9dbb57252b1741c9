"""A benchmark that is killed leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from deploy.local.settings import PROJECT_ROOT

SLEEP = "import time; time.sleep(60)"


def _sleeper(*words: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SLEEP, *words], env=environment, start_new_session=True)


def _watch(benchmark: subprocess.Popen[bytes], home: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.watch", str(benchmark.pid), str(home)]
    return subprocess.Popen(command, cwd=PROJECT_ROOT)


def test_what_was_started_in_a_killed_benchmarks_home_ends_and_nothing_else(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    benchmark, bystander = _sleeper(), _sleeper(str(tmp_path / "elsewhere"))
    started = [_sleeper(f"--data={home}/postgres"), _sleeper(COMMANDCENTER_HOME=str(home))]
    watch = _watch(benchmark, home)
    try:
        benchmark.kill()
        assert watch.wait(20) == 0
        assert all(process.wait(1) != 0 for process in started)
        assert not home.exists()
        assert bystander.poll() is None
    finally:
        for process in (benchmark, bystander, watch, *started):
            process.kill()
            process.wait()


def test_the_watcher_goes_with_the_home_of_a_benchmark_that_ended_by_itself(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    benchmark = _sleeper()
    watch = _watch(benchmark, home)
    try:
        home.rmdir()
        assert watch.wait(10) == 0
        assert benchmark.poll() is None
    finally:
        for process in (benchmark, watch):
            process.kill()
            process.wait()
