"""`make demo`: one schedule's whole way, on this very repository, told as it happens.

Starts the stack if it does not run, registers this repository, schedules its analysis, triggers it, follows the job
through the topics, and shows what was found. Ends with 0 only when the analysis succeeded; the stack is left running.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from deploy.local import control
from deploy.local.errors import StackError
from deploy.local.probes import open_url
from deploy.local.settings import PROJECT_ROOT, LocalSettings, read_settings
from deploy.local.way import Way, topic_prefix

JOB_TIMEOUT = 300.0
LISTEN_TIMEOUT = 30.0
Json = dict[str, Any]


def say(text: str = "") -> None:
    """Print a line at once."""
    print(text, flush=True)


class Api:
    """The few calls of the demo."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Json:
        """Ask and return the JSON answer. Raises StackError with what the API said."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("COMMANDCENTER_ADMIN_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)  # noqa: S310 - our own
        try:
            with open_url(request, timeout=10.0) as answer:
                content: Json = json.load(answer)
                return content
        except urllib.error.HTTPError as error:
            with error:
                said = error.read(2_000).decode(errors="replace")
            if error.code == 401:
                raise StackError(
                    "The api asks for a key: set COMMANDCENTER_ADMIN_KEY to the one it was started with."
                ) from error
            raise StackError(f"{method} {path} answered {error.code}: {' '.join(said.split())}") from error
        except OSError as error:
            raise StackError(
                f"{method} {path} failed ({error}): look into `make logs SERVICE=api FOLLOW=0`."
            ) from error


def main() -> int:
    """Run the demo; returns the exit code."""
    try:
        settings = read_settings()
        _check_repository()
        if control.start(settings, say):
            say("CommandCenter is ready.")
        else:
            say("CommandCenter is already running.")
        settings, _ = control.as_running(settings)
        return _demo(settings)
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; the stack is left as it is (make stop).", file=sys.stderr)
        return 130


def _check_repository() -> None:
    command = ["git", "-C", str(PROJECT_ROOT), "rev-parse", "--verify", "--quiet", "HEAD"]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        raise StackError(f"{PROJECT_ROOT} is not a git repository with a commit: run the demo in a clone.")


def _demo(settings: LocalSettings) -> int:
    api = Api(settings.url("api"))
    repository = _repository(api)
    say(f"\n1. Repository {repository['id']}: {repository['url']}")
    with Way(settings.kafka_bootstrap_servers, "analysis") as way:
        way.listen(LISTEN_TIMEOUT)
        schedule = _schedule(api, repository)
        say(f"2. Schedule {schedule['id']}: {schedule['name']!r}, {schedule['frequency']}")
        say(f"   next run {schedule['next_run_at']}, so it is triggered by hand now:")
        triggered = datetime.now(UTC)
        execution = api.call("POST", f"/api/v1/schedules/{schedule['id']}/execute", {"force": True})
        job_id = int(execution["job_id"])
        say(f"3. {execution['message']}. Its way through the topics, from the request on:")
        for step in way.follow(job_id, triggered, JOB_TIMEOUT):
            say(f"   {step}")
    job = _ended(api, job_id)
    say(
        f"4. Job {job_id}: {job['status']} in {float(job.get('duration_seconds') or 0):.2f} s, attempt {job['attempt']}"
    )
    if job["status"] != "succeeded":
        raise StackError(f"The analysis did not succeed ({job.get('reason')}: {job.get('error')}).")
    _show_result(job)
    _show_artifacts(settings, job)
    _show_next(settings, schedule, job)
    return 0


def _repository(api: Api) -> Json:
    """This repository's entry in project 1, made when it is not there yet."""
    url = str(PROJECT_ROOT)
    known = api.call("GET", "/api/v1/repositories?project_id=1&page_size=100")["repositories"]
    for repository in known:
        if repository["url"] == url:
            return dict(repository)
    taken = {repository["name"] for repository in known}
    name = next(name for name in ("commandcenter", f"commandcenter-{int(time.time())}") if name not in taken)
    return api.call("POST", "/api/v1/repositories", {"project_id": 1, "name": name, "url": url})


def _schedule(api: Api, repository: Json) -> Json:
    """A daily analysis of it: the one of an earlier demo, or a new one."""
    listed = api.call("GET", "/api/v1/schedules?project_id=1&task_type=analysis&page_size=100")["schedules"]
    for schedule in listed:
        if (schedule.get("tags") or {}).get("demo") == str(repository["id"]) and schedule["enabled"]:
            return dict(schedule)
    return api.call(
        "POST",
        "/api/v1/schedules",
        {
            "project_id": 1,
            "name": "Demo: analyse this repository every day",
            "task_type": "analysis",
            "frequency": "daily",
            "task_parameters": {"repository_id": repository["id"], "analysis_type": "full"},
            "tags": {"demo": str(repository["id"])},
        },
    )


def _ended(api: Api, job_id: int) -> Json:
    """The job once its outcome is recorded, which happens just after its last event."""
    deadline = time.monotonic() + 30
    while True:
        job = api.call("GET", f"/api/v1/jobs/{job_id}")
        if job["status"] in {"succeeded", "failed", "cancelled", "skipped"}:
            return job
        if time.monotonic() > deadline:
            raise StackError(f"Job {job_id} stays {job['status']}: look into `make logs SERVICE=health FOLLOW=0`.")
        time.sleep(0.1)


def _show_result(job: Json) -> None:
    result: Json = job.get("result") or {}
    findings: Json = result.get("findings") or {}
    commit, files, total = str(result.get("commit"))[:12], result.get("files"), findings.get("total")
    say(f"\n5. Commit {commit}, {files} files, {total} findings")
    for title, key, most in (("by tool", "by_tool", 10), ("by level", "by_level", 10), ("by rule", "by_rule", 5)):
        say(f"   {title:<9} {_counts(findings.get(key) or {}, most)}")


def _counts(counts: Mapping[str, Any], most: int) -> str:
    """`error 3, warning 12`; where a count is split further, its parts follow in brackets."""
    if not counts:
        return "none"
    sizes = {name: sum(value.values()) if isinstance(value, dict) else int(value) for name, value in counts.items()}
    largest = sorted(sizes, key=lambda name: (-sizes[name], name))
    shown = []
    for name in largest[:most]:
        parts = counts[name]
        inner = f" ({', '.join(f'{part} {count}' for part, count in parts.items())})" if isinstance(parts, dict) else ""
        shown.append(f"{name} {sizes[name]}{inner}")
    rest = len(largest) - most
    return ", ".join(shown) + (f", and {rest} more" if rest > 0 else "")


def _show_artifacts(settings: LocalSettings, job: Json) -> None:
    for artifact in job.get("artifacts") or []:
        address = f"{settings.url('api')}/api/v1/jobs/{job['id']}/artifacts/{artifact['name']}"
        say(f"   artifact  {address} ({int(artifact.get('size', 0)):,} bytes)")


def _show_next(settings: LocalSettings, schedule: Json, job: Json) -> None:
    api, kafka = settings.url("api"), settings.kafka_bootstrap_servers
    topics = f"{topic_prefix()}runs.results"
    say("\nWhere to look next")
    for what, how in (
        ("the schedule and its counts", f"curl -s {api}/api/v1/schedules/{schedule['id']}"),
        ("the job and its result", f"curl -s {api}/api/v1/jobs/{job['id']}"),
        ("every endpoint, to read", f"{api}/docs"),
        ("the events, as anyone sees them", f"kcat -b {kafka} -t {topics} -C -o beginning -f '%h %s\\n'"),
        ("how it is, what it says, the end", "make status · make logs · make stop"),
    ):
        say(f"   {what:<33} {how}")


if __name__ == "__main__":
    sys.exit(main())
