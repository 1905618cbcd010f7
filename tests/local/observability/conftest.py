"""API and worker as processes of their own, a receiver of webhooks, and a collector of traces."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

TIMEOUT = 30.0
_UP: dict[str, tuple[str, ...]] = {
    "api": ("listening",),
    "worker": ("worker started",),
    "all": ("listening", "worker started"),
}
ACCOUNT = {"email": "someone@example.org", "password": "correct horse battery"}


def wait_for(check: Callable[[], Any], *, seconds: float = TIMEOUT) -> Any:
    """What `check` gives as soon as that is true; connection errors count as not yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if result := check():
                return result
        except (OSError, http.client.HTTPException):
            pass
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.03)


@pytest.fixture
def eventually() -> Callable[..., Any]:
    return wait_for


class Server:
    """An HTTP server whose `answer` takes each POST."""

    def __init__(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                self.send_response(outer.answer(self, body))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> int:
        raise NotImplementedError

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Receiver(Server):
    """Takes webhooks; answers with the next of `answers`, and 200 when there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.headers: list[dict[str, str]] = []
        self.answers: list[int] = []

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> int:
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        return self.answers.pop(0) if self.answers else 200


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


@dataclass(frozen=True)
class SeenSpan:
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]


class Collector(Server):
    """Speaks OTLP over HTTP, as a real collector does."""

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[SeenSpan] = []
        self.status = 200

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> int:
        assert (request.path, request.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
        if self.status == 200:
            self.spans.extend(_decoded(body))
        return self.status

    def named(self, name: str) -> list[SeenSpan]:
        return [span for span in self.spans if span.name == name]


def _decoded(body: bytes) -> Iterator[SeenSpan]:
    for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _plain(sent.resource.attributes)
        for scope in sent.scope_spans:
            for span in scope.spans:
                yield SeenSpan(
                    name=span.name,
                    kind=span.kind,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    failed=span.status.code == span.status.STATUS_CODE_ERROR,
                    attributes=_plain(span.attributes),
                    resource=resource,
                )


def _plain(attributes: Any) -> dict[str, Any]:
    def value(pair: KeyValue) -> Any:
        return getattr(pair.value, str(pair.value.WhichOneof("value")))

    return {pair.key: value(pair) for pair in attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    yield server
    server.close()


@dataclass
class Process:
    """`python -m app` with one MODE."""

    popen: subprocess.Popen[bytes]
    log_path: Path
    port: int
    metrics_port: int

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log_path.read_text().splitlines() if line.startswith('{"')]

    def events(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.log() if line.get("event") == event]

    def stop(self, timeout: float = TIMEOUT) -> int:
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(timeout)

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        given = {"Content-Type": "application/json", **(headers or {})}
        return call(self.port, method, path, body=json.dumps(body) if body is not None else None, headers=given)

    def metrics(self) -> str:
        """What Prometheus would read from this process's API."""
        return str(call(self.port, "GET", "/metrics")[1]["text"])

    def own_metrics(self) -> str:
        """The same from its worker."""
        return str(call(self.metrics_port, "GET", "/metrics")[1]["text"])


def call(
    port: int, method: str, path: str, *, body: str | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        text = response.read().decode()
        return response.status, json.loads(text) if text.startswith("{") else {"text": text}
    finally:
        connection.close()


@dataclass
class Processes:
    """Starts processes that share a database and a queue, and have ports of their own."""

    environ: dict[str, str]
    folder: Path
    started: list[Process] = field(default_factory=list)
    up: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(_UP))
    """The events in the log that show that a process is up, by its MODE."""

    def start(self, mode: str, **changes: str) -> Process:
        """It is up, or has ended, when this returns."""
        log_path = self.folder / f"{mode}-{len(self.started)}.log"
        ports = {"PORT": str(_free_port()), "METRICS_PORT": str(_free_port()) if mode != "api" else "0"}
        environ = {**self.environ, "MODE": mode, "HEALTH_FILE": str(log_path) + ".alive", **ports, **changes}
        with log_path.open("wb") as log:
            popen = subprocess.Popen([sys.executable, "-m", "app"], env=environ, stdout=log, stderr=subprocess.STDOUT)
        process = Process(popen, log_path, int(environ["PORT"]), int(environ["METRICS_PORT"]))
        self.started.append(process)
        wait_for(lambda: popen.poll() is not None or all(process.events(event) for event in self.up[mode]))
        return process


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def processes(migrated_url: str, redis_url: str, tmp_path: Path) -> Iterator[Processes]:
    group = Processes(
        {
            "PATH": os.environ["PATH"],
            "ENVIRONMENT": "test",
            "HOST": "127.0.0.1",
            "DATABASE_URL": migrated_url,
            "REDIS_URL": redis_url,
            "JWT_SECRET": secrets.token_urlsafe(64),
            "ENABLE_METRICS": "true",
            "SHUTDOWN_DRAIN": "0",
            "DELIVERY_ALLOW_HTTP": "true",
            "DELIVERY_ALLOW_PRIVATE_NETWORKS": "true",
            "DELIVERY_BACKOFF": "50",
            "DELIVERY_BACKOFF_MAX": "200",
            "SWEEP_INTERVAL": "300",
        },
        tmp_path,
    )
    yield group
    for process in group.started:
        if process.popen.poll() is None:
            process.popen.kill()
        process.popen.wait(10)
    if os.environ.get("SHOW_LOGS"):
        for process in group.started:
            sys.stdout.write(process.log_path.read_text())


@pytest.fixture
def deliver() -> Callable[..., str]:
    """Has the API deliver to a URL, as a user would; the delivery's id."""

    def send(api: Process, url: str, *, headers: dict[str, str] | None = None, **fields: Any) -> str:
        api.ask("POST", "/v1/auth/register", ACCOUNT)
        _, tokens = api.ask("POST", "/v1/auth/login", ACCOUNT)
        bearer = {"Authorization": f"Bearer {tokens['access_token']}", **(headers or {})}
        status, accepted = api.ask("POST", "/v1/deliveries?", {"url": url, "payload": 1, **fields}, bearer)
        assert status == 202, accepted
        return str(accepted["id"])

    return send
