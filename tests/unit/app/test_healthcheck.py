from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from app.healthcheck import STALE_SECONDS, problem


@pytest.fixture
def api() -> Iterator[HTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health/live" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_api_that_answers_is_well(api: HTTPServer) -> None:
    assert problem({"MODE": "api", "PORT": str(api.server_port)}) is None


def test_an_api_that_does_not_answer_is_not(api: HTTPServer) -> None:
    assert "no answer" in (problem({"MODE": "api", "PORT": "9"}) or "")
    assert "no answer" in (problem({"MODE": "api", "PORT": "x"}) or "")


@pytest.mark.parametrize(("host", "asked"), [("", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]")])
def test_the_api_is_asked_where_it_listens(host: str, asked: str) -> None:
    assert f"no answer from http://{asked}:9/health/live" in (problem({"MODE": "api", "HOST": host, "PORT": "9"}) or "")


def test_an_api_that_accepts_and_says_nothing_is_not_well() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        assert "timed out" in (problem({"MODE": "api", "PORT": str(silent.getsockname()[1])}) or "")
        # The container's runtime gives the command `health.timeout`, five seconds unless told otherwise.
        assert time.monotonic() - begun < 4.5


def test_a_worker_is_well_while_its_heartbeat_is_fresh(tmp_path: Path) -> None:
    file = tmp_path / "heartbeat"
    environ = {"MODE": "worker", "HEALTH_FILE": str(file)}
    assert "no heartbeat" in (problem(environ) or "")
    file.touch()
    touched = file.stat().st_mtime

    assert problem(environ, now=lambda: touched + STALE_SECONDS) is None
    assert f"{STALE_SECONDS + 1:.0f} s old" in (problem(environ, now=lambda: touched + STALE_SECONDS + 1) or "")


def test_all_needs_both(api: HTTPServer, tmp_path: Path) -> None:
    file = tmp_path / "heartbeat"
    environ = {"MODE": "all", "PORT": str(api.server_port), "HEALTH_FILE": str(file)}
    assert "no heartbeat" in (problem(environ) or "")
    file.touch()
    assert problem(environ) is None
    assert "no answer" in (problem({**environ, "PORT": "9"}) or "")


@pytest.mark.flips("health_file")
def test_the_rest() -> None:
    assert problem({"MODE": "migrate"}) is None
    assert "HEALTH_FILE is not set" in (problem({"MODE": "worker"}) or "")
    assert "api, worker, all, migrate" in (problem({"MODE": "wroker"}) or "")


def test_the_command_is_light_and_says_what_is_wrong() -> None:
    """It runs every few seconds beside the service: no framework may be loaded for it."""
    code = "import sys, app.healthcheck as h; print(h.main()); print([m for m in sys.modules if '.' not in m])"
    environ = {"PATH": os.environ["PATH"], "MODE": "worker"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=20)

    assert done.stdout.splitlines()[0] == "1"
    assert "HEALTH_FILE is not set" in done.stderr
    for heavy in ("pydantic", "structlog", "sqlalchemy", "redis", "starlette"):
        assert f"'{heavy}'" not in done.stdout
