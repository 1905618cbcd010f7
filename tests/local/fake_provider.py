"""Replicate's and OpenAI's APIs on loopback, as far as the application speaks with them, with the faults of real ones.

Loaded by conftest, which gives each test one as `provider`.
"""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.request
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook

SECRET = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
OTHER_SECRET = "whsec_" + base64.b64encode(bytes(range(101, 133))).decode()
INPUT = {"replicate": {"text": "hello"}, "openai": {"input": "hello"}}
MODEL = {"replicate": "acme/model", "openai": "gpt-test"}
OUTPUT = {"replicate": ["a", "b"], "openai": [{"type": "message", "content": [{"type": "output_text", "text": "a"}]}]}

Fault = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Asked:
    """One request, as it came."""

    step: str
    path: str
    headers: dict[str, str]
    body: Any
    raw: bytes = b""
    at: float = field(default_factory=time.monotonic)


@dataclass
class Made:
    """A prediction that the provider has."""

    id: str
    provider: str
    request: dict[str, Any]
    status: str
    output: Any = None
    error: str | None = None

    def document(self) -> dict[str, Any]:
        if self.provider == "replicate":
            return {"id": self.id, "status": self.status, "output": self.output, "error": self.error, "logs": ""}
        error = {"message": self.error} if self.error else None
        metadata = self.request.get("metadata", {})
        return {"id": self.id, "status": self.status, "output": self.output, "error": error, "metadata": metadata}


class Provider:
    """`faults[step]`: what the next requests of a step get instead of an answer; a step is submit, fetch or cancel."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.made: dict[str, Made] = {}
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.knows_keys = True
        self.ends_after: int | None = None
        """How many times a prediction must be asked for until it has ended; None: not by itself."""
        self._keys: dict[str, Made] = {}
        self._lock = threading.Lock()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                provider._handle(self)

            do_POST = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A worker that was killed leaves its connection behind."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environ(self) -> dict[str, str]:
        """What makes an application use it, without webhooks."""
        return {
            "REPLICATE_API_KEY": "r8_test",
            "OPENAI_API_KEY": "sk-test",
            "REPLICATE_BASE_URL": self.url,
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "PREDICTION_POLL_INTERVAL": "100",
            "PREDICTION_REQUEST_TIMEOUT": "2000",
        }

    def steps(self, step: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.step == step]

    def end(self, made: Made, status: str = "succeeded", *, error: str | None = None) -> Made:
        names = {"succeeded": "completed", "canceled": "cancelled"} if made.provider == "openai" else {}
        made.status, made.error = names.get(status, status), error
        made.output = OUTPUT[made.provider] if status == "succeeded" else None
        return made

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        path = handler.path
        step = "fetch" if handler.command == "GET" else "cancel" if path.endswith("/cancel") else "submit"
        headers = {name.lower(): value for name, value in handler.headers.items()}
        with self._lock:
            self.asked.append(Asked(step, path, headers, json.loads(body) if body else None, body))
            fault = self.faults[step].pop(0) if self.faults[step] else None
        if fault is not None:
            fault(handler)
        elif step == "submit":
            answer(201, self.make(path, headers, json.loads(body)).document())(handler)
        else:
            self._known(handler, step)

    def make(self, path: str, headers: dict[str, str], request: dict[str, Any]) -> Made:
        provider = "openai" if path == "/v1/responses" else "replicate"
        with self._lock:
            key = headers.get("idempotency-key", "")
            if self.knows_keys and key in self._keys:
                return self._keys[key]
            made = Made(uuid.uuid4().hex, provider, request, "queued" if provider == "openai" else "starting")
            self.made[made.id] = self._keys[key] = made
        return made

    def _known(self, handler: BaseHTTPRequestHandler, step: str) -> None:
        made = self.made.get(handler.path.removesuffix("/cancel").rpartition("/")[2])
        if made is None:
            answer(404, {"detail": "no such thing", "error": {"message": "no such thing"}})(handler)
            return
        open_ = made.status in ("starting", "queued", "processing", "in_progress")
        if step == "cancel" and open_:
            self.end(made, "canceled")
        elif open_ and self.ends_after is not None:
            fetched = sum(made.id in asked.path for asked in self.steps("fetch"))
            if fetched > self.ends_after:
                self.end(made)
        answer(200, made.document())(handler)


def answer(status: int, body: Any, *, headers: dict[str, str] | None = None, after: float = 0.0) -> Fault:
    def send(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(after)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    return send


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.close()


def trickle(handler: BaseHTTPRequestHandler) -> None:
    """Headers without an end, a byte at a time: each read succeeds, and none is the last."""
    handler.close_connection = True
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(100):
        handler.wfile.write(b"x-a: b\r\n")
        handler.wfile.flush()
        time.sleep(0.1)


def signed(
    body: bytes, *, webhook_id: str | None = None, secret: str = SECRET, at: float | None = None
) -> dict[str, str]:
    """The headers of a webhook, as a provider sends them."""
    webhook_id = webhook_id or f"msg_{uuid.uuid4().hex}"
    moment = datetime.fromtimestamp(time.time() if at is None else at, tz=UTC)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign(webhook_id, moment, body.decode()),
        "content-type": "application/json",
    }


def event(made: Made) -> bytes:
    """The body of the webhook that tells of its end."""
    if made.provider == "replicate":
        return json.dumps(made.document()).encode()
    return json.dumps({"id": "evt_1", "type": f"response.{made.status}", "data": {"id": made.id}}).encode()


def send(url: str, body: bytes, headers: dict[str, str]) -> int:
    request = urllib.request.Request(url, data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        return int(response.status)
