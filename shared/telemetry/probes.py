"""The probe server: /livez, /readyz and /metrics on a thread of its own, for the services that serve no other HTTP.

/livez judges the process alone (its heartbeats), so that an outage elsewhere never makes a supervisor restart a healthy
process. /readyz asks every check and names what is missing. Answers are JSON; /metrics is Prometheus' text format.
"""

import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from shared.process import Process

Check = Callable[[], str | None]
"""A readiness check: None when fine, else one sentence."""
NO_FACTS: Mapping[str, Callable[[], str]] = MappingProxyType({})


def liveness(process: Process) -> tuple[int, dict[str, object]]:
    """Status code and body of /livez."""
    stale = process.stale()
    if stale:
        return 503, {"status": "stuck", "service": process.service, "stuck": stale}
    return 200, {"status": "alive", "service": process.service}


def readiness(
    process: Process, checks: Mapping[str, Check], facts: Mapping[str, Callable[[], str]] = NO_FACTS
) -> tuple[int, dict[str, object]]:
    """Status code and body of /readyz: each check's name with "ok" or its sentence; facts are said and not judged."""
    answers = {name: check() for name, check in checks.items()}
    if process.stopping.is_set():
        answers["process"] = "stopping"
    ready = all(answer is None for answer in answers.values())
    body: dict[str, object] = {
        "status": "ready" if ready else "not ready",
        "service": process.service,
        "checks": {name: answer or "ok" for name, answer in answers.items()},
        **{name: fact() for name, fact in facts.items()},
    }
    return (200 if ready else 503), body


class ProbeServer:
    """Serves the three paths until `stop`. Port 0 picks a free one; `port` tells which. Raises OSError if taken."""

    def __init__(
        self,
        host: str,
        port: int,
        process: Process,
        checks: Mapping[str, Check],
        facts: Mapping[str, Callable[[], str]] = NO_FACTS,
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_GET(self) -> None:
                path = self.path.split("?", 1)[0]
                if path == "/metrics":
                    self._answer(200, generate_latest(REGISTRY), CONTENT_TYPE_LATEST)
                elif path in ("/livez", "/readyz"):
                    status, body = liveness(process) if path == "/livez" else readiness(process, checks, facts)
                    self._answer(status, orjson.dumps(body), "application/json")
                else:
                    self._answer(404, b'{"paths":["/livez","/readyz","/metrics"]}', "application/json")

            def _answer(self, status: int, body: bytes, content_type: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class names it)
                """Probes come every second: not worth a line."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="probes", daemon=True)

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
