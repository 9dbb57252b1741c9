"""The supervisor gives up a service that lives but does not work, and no other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from deploy.local import liveness
from deploy.local.liveness import Liveness
from deploy.local.ports import free_ports
from tests.waiting import eventually


class Service(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(Service.status)
        self.end_headers()
        self.wfile.write(b'{"stuck":["recorder"]}')

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        pass


@pytest.fixture
def service() -> Iterator[str]:
    Service.status = 200
    server = HTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_stuck_service_is_given_up_and_a_starting_one_is_not(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "INTERVAL", 0.05)
    monkeypatch.setattr(liveness, "STUCK_AFTER", 0.3)
    monkeypatch.setattr(liveness, "SILENT_AFTER", 0.3)
    watch = Liveness({"worker": service, "starting": f"http://127.0.0.1:{free_ports(1)[0]}"})
    watch.start()
    try:
        eventually(lambda: "worker" in watch._heard)
        assert watch.given_up() == {}
        Service.status = 503
        eventually(lambda: watch.given_up() == {"worker": '{"stuck":["recorder"]}'})
        watch.restarted("worker")
        assert watch.given_up() == {}
    finally:
        watch.stop()
