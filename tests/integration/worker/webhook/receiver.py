"""A receiver as a user would write one: its own process, a secret, and the standardwebhooks library. Nothing of ours.

`python receiver.py <secret>` prints its port, then one line per request; 204 for what verifies, 401 for what does not.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

SECRET = sys.argv[1]


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            message = Webhook(SECRET).verify(body, dict(self.headers))
        except WebhookVerificationError as error:
            status, line = 401, {"refused": str(error)}
        else:
            status, line = 204, {"verified": message, "id": self.headers["webhook-id"]}
        print(json.dumps(line), flush=True)
        self.send_response(status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Standard error stays quiet."""


server = HTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_address[1], flush=True)
server.serve_forever()
