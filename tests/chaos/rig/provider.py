"""A provider of predictions with Replicate's HTTP API, as far as a test of faults needs it."""

from __future__ import annotations

import base64
import itertools
import json
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook


def secret(text: str) -> str:
    """A signing secret as providers give it out."""
    return "whsec_" + base64.b64encode(text.ljust(32, ".").encode()).decode()


def signed(key: str, webhook_id: str, document: Any, *, age: int = 0) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a webhook that was sent `age` seconds ago."""
    body = json.dumps(document).encode()
    moment = int(time.time()) - age
    signature = Webhook(key).sign(webhook_id, datetime.fromtimestamp(moment, UTC), body.decode())
    headers = {"webhook-id": webhook_id, "webhook-timestamp": str(moment), "webhook-signature": signature}
    return body, {**headers, "Content-Type": "application/json"}


class Provider:
    """Gives every prediction an id, and has it ended when it is asked for it a second time.

    `refusals` are statuses that it answers first, whatever it is asked. `keys` counts submissions by Idempotency-Key.
    """

    def __init__(self) -> None:
        self.refusals: list[int] = []
        self.keys: Counter[str] = Counter()
        self.ends_by_itself = True
        self._ids = itertools.count(1)
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider._answer(self, self.path.rpartition("/")[2])

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                provider._answer(self, None)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler, name: str | None) -> None:
        with self._lock:
            if self.refusals:
                self._send(handler, self.refusals.pop(0), {"detail": "not now"})
                return
            if name is None:
                self.keys[handler.headers["idempotency-key"]] += 1
                self._send(handler, 201, document(f"p{next(self._ids)}", "starting"))
                return
            self._asked[name] += 1
            ended = self.ends_by_itself and self._asked[name] > 1
        self._send(handler, 200, document(name, "succeeded" if ended else "processing"))

    def _send(self, handler: BaseHTTPRequestHandler, status: int, answer: Any) -> None:
        body = json.dumps(answer).encode()
        handler.send_response(status)
        for header, value in {"Content-Length": str(len(body)), "Content-Type": "application/json"}.items():
            handler.send_header(header, value)
        handler.end_headers()
        handler.wfile.write(body)


def document(name: str, status: str) -> dict[str, Any]:
    output = ["a", "b"] if status == "succeeded" else None
    return {"id": name, "status": status, "output": output, "error": None, "logs": ""}
