"""The world outside: an HTTP server that writes down every request it gets."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler, "Call"], None]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, as it came. `number` counts the requests with its webhook-id, from 1."""

    path: str
    webhook_id: uuid.UUID
    number: int
    body: Any
    at: float
    """time.time()"""


class Receiver:
    """Answers each path as told by `on`; 200 otherwise."""

    def __init__(self) -> None:
        self._calls: dict[uuid.UUID, list[Call]] = defaultdict(list)
        self._lock = threading.Lock()
        self._answers: dict[str, Answer] = {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._handle(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A worker that was killed leaves its connection behind."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def on(self, path: str, answer: Answer) -> str:
        """The path's URL."""
        self._answers[path] = answer
        return self.url + path

    def calls(self) -> dict[uuid.UUID, list[Call]]:
        """By webhook-id, each in the order of arrival."""
        with self._lock:
            return {webhook_id: list(calls) for webhook_id, calls in self._calls.items()}

    def count(self) -> int:
        with self._lock:
            return sum(len(calls) for calls in self._calls.values())

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers.get("content-length", 0))))
        webhook_id = uuid.UUID(handler.headers["webhook-id"])
        with self._lock:
            calls = self._calls[webhook_id]
            call = Call(path=handler.path, webhook_id=webhook_id, number=len(calls) + 1, body=body, at=time.time())
            calls.append(call)
        self._answers.get(handler.path, reply(200))(handler, call)


def reply(status: int, *, after: float = 0.0, headers: dict[str, str] | None = None) -> Answer:
    """`status`, `after` so many seconds."""

    def answer(handler: BaseHTTPRequestHandler, _: Call) -> None:
        time.sleep(after)
        handler.send_response(status)
        for name, value in {"Content-Length": "0", **(headers or {})}.items():
            handler.send_header(name, value)
        handler.end_headers()

    return answer


def in_turn(*answers: Answer) -> Answer:
    """The first for the first request of a delivery, and so on; the last for all that follow."""

    def answer(handler: BaseHTTPRequestHandler, call: Call) -> None:
        answers[min(call.number, len(answers)) - 1](handler, call)

    return answer


def held_until(released: threading.Event, then: Answer) -> Answer:
    """Silence until the event, at most a minute."""

    def answer(handler: BaseHTTPRequestHandler, call: Call) -> None:
        released.wait(60)
        then(handler, call)

    return answer
