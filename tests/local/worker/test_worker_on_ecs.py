"""A real worker process that tells a fake ECS agent when it must not be stopped."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

pytestmark = [pytest.mark.local, pytest.mark.timeout(60)]


@pytest.fixture
def agent() -> Iterator[tuple[str, list[bool]]]:
    """The address of an agent, and what it was asked for."""
    wishes: list[bool] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            wish = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            wishes.append(wish["ProtectionEnabled"])
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api/task", wishes
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_job_is_protected_until_it_is_done(
    world: Any, workers: Any, receiver: Any, answers: Any, eventually: Any, agent: tuple[str, list[bool]]
) -> None:
    uri, wishes = agent
    patient = {"DELIVERY_TIMEOUT": "40000", "QUEUE_JOB_TIMEOUT": "50000", "QUEUE_LEASE": "50000"}
    workers.start(ECS_AGENT_URI=uri, **patient)
    seen = threading.Event()
    delivery_id, _ = world.add(receiver.on("/slow", lambda h, n: answers(200)(h, n) if seen.wait(30) else None))
    eventually(lambda: wishes == [True])
    seen.set()
    world.settled(delivery_id, "delivered")
    eventually(lambda: wishes == [True, False])
