"""A due run's way through a real worker: claimed, executed, answered, committed."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from shared.events.types import RunFailed, RunStarted, RunSucceeded
from tests.integration.worker.bench_of_runs import Runs
from tests.waiting import eventually


class _Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(500 if self.path == "/broken" else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


def test_a_health_check_is_claimed_run_answered_and_committed(runs: Runs) -> None:
    site = ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    address = f"127.0.0.1:{site.server_address[1]}"
    runs.worker()

    fine = runs.due("health_check", {"targets": [f"http://{address}/fine", f"tcp://{address}"]})
    ended = runs.ended(fine)
    assert isinstance(ended, RunSucceeded), ended
    assert ended.result["status"] == "ok"
    assert [one["status"] for one in ended.result["targets"]] == ["ok", "ok"]
    assert all(one["latency_ms"] > 0 for one in ended.result["targets"])
    assert len(runs.of(fine, RunStarted)) == 1
    assert ended.worker == "worker-0"

    broken = runs.due("health_check", {"targets": [f"http://{address}/broken"]}, max_attempts=2)
    failed = runs.ended(broken)
    assert isinstance(failed, RunFailed)
    assert (failed.reason, failed.will_retry) == ("error", True)
    assert failed.next_attempt_at is not None
    assert failed.next_attempt_at > failed.finished_at
    assert failed.result is not None
    assert failed.result["targets"][0]["error"] == "answered 500"

    eventually(lambda: runs.committed("health_check") == 2, what="offsets committed")
    claims = runs.claims()
    assert all(claim["ended_at"] is not None for claim in claims.values())
    assert claims[(broken, 1)]["will_retry"] is True
    site.shutdown()


def test_own_parts_say_when_no_dispatcher_leads(runs: Runs) -> None:
    runs.worker()
    failed = runs.ended(runs.due("health_check"))
    assert isinstance(failed, RunFailed)
    assert failed.result is not None
    status = {one["target"]: one["status"] for one in failed.result["targets"]}
    assert status == {"postgresql": "ok", "kafka": "ok", "dispatcher": "failed"}
    runs.query("UPDATE leases SET holder = 'me', expires_at = now() + interval '1 minute'")
    assert isinstance(runs.ended(runs.due("health_check")), RunSucceeded)


def test_what_nobody_can_run_fails_at_once_saying_so(runs: Runs) -> None:
    runs.worker(worker_task_types="health_check,nobody_knows")
    unserved = runs.ended(runs.due("nobody_knows", {"format": "pdf"}, max_attempts=3))
    wrong = runs.ended(runs.due("health_check", {"targetz": []}, max_attempts=3))
    assert isinstance(wrong, RunFailed)
    assert (wrong.reason, wrong.will_retry) == ("invalid_parameters", False)
    assert "targetz" in wrong.error
    assert isinstance(unserved, RunFailed)
    assert (unserved.reason, unserved.will_retry) == ("no_handler", False)


def test_the_same_event_twice_starts_once(runs: Runs) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    target = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    runs.worker()
    job = runs.due("health_check", {"targets": [target]})
    runs.due("health_check", {"targets": [target]}, job_id=job)
    runs.due("health_check", {"targets": [target]}, job_id=job)
    last = runs.due("health_check", {"targets": [target]})
    runs.ended(last)
    eventually(lambda: runs.committed("health_check") == 4, what="repeats committed")
    assert len(runs.of(job, RunStarted)) == 1
    assert len(runs.of(job, (RunSucceeded, RunFailed))) == 1
    listener.close()


class _Collector(BaseHTTPRequestHandler):
    """What receives OTLP over HTTP."""

    bodies: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


def test_an_end_carries_the_trace_and_every_end_has_its_log_line(runs: Runs) -> None:
    collector = ThreadingHTTPServer(("127.0.0.1", 0), _Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    worker = runs.worker(otlp_endpoint=f"http://127.0.0.1:{collector.server_address[1]}")
    trace = "0af7651916cd43dd8448eb211c80319c"
    good = runs.due("wait", schedule_id=123, traceparent=f"00-{trace}-b7ad6b7169203331-01")
    bad = runs.due("fail", {"how": "permanent"}, schedule_id=123)
    runs.ended(good)
    runs.ended(bad)
    (ended,) = [one for one in runs.results if one.job_id == good and isinstance(one.data, RunSucceeded)]
    assert ended.traceparent is not None
    assert ended.traceparent.startswith(f"00-{trace}-")
    assert "b7ad6b7169203331" not in ended.traceparent, "a span of its own"
    lines = [line for line in worker.text().splitlines() if "schedule_id=123" in line]
    assert any(f"Attempt 1 of job {good} succeeded in" in line for line in lines)
    assert any(f"Attempt 1 of job {bad} failed: this cannot work" in line and "WARNING" in line for line in lines)
    worker.stop()
    spans = b"".join(_Collector.bodies)
    assert bytes.fromhex(trace) in spans
    assert b"run wait" in spans
    collector.shutdown()
