"""Services under a real supervisor, and a small server that keeps the application's replica contract."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.local.supervisor import client
from infra.local.supervisor.spec import Health, Spec

SERVER = """
import http.server, os, signal, socket, socketserver, sys, threading, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/crash":
            os._exit(7)
        ok = self.path == "/" or not os.environ.get("SICK")
        body = f"{os.environ.get('VERSION', '')} {os.getpid()}".encode()
        self.send_response(200 if ok else 503)
        self.send_header("Content-Length", str(len(body)))
        if stopping.is_set():
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass

class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = False
    def server_bind(self): pass

stopping = threading.Event()
print("version", os.environ.get("VERSION"), flush=True)
if os.environ.get("BROKEN"):
    sys.exit("cannot start: the flux is broken")
servers = []
for fd in range(3, 3 + int(os.environ["LISTEN_FDS"])):
    server = Server(("", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=fd)
    # Every replica wakes for a new connection, and all but one must not block in accept.
    server.socket.setblocking(False)
    server.server_name, server.server_port = "localhost", 0
    servers.append(server)
def stop(*_):
    stopping.set()
    def finish():
        time.sleep(0.2)
        for s in servers: s.shutdown()
    threading.Thread(target=finish).start()
signal.signal(signal.SIGTERM, signal.SIG_IGN if os.environ.get("STUBBORN") else stop)
threads = [threading.Thread(target=s.serve_forever, kwargs={"poll_interval": 0.02}) for s in servers]
for t in threads: t.start()
# With an end to each wait: a signal that comes just before a wait begins is seen only after it.
while any(t.is_alive() for t in threads): time.sleep(0.02)
"""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """The folder of one service; whatever runs there is ended after the test."""
    folder = tmp_path / "service"
    yield folder
    client.stop(folder)


@pytest.fixture
def web(tmp_path: Path, free_port: int) -> Callable[..., Spec]:
    """Makes specs of a small HTTP server: keyword arguments are spec fields, `env` its environment."""
    script = tmp_path / "server.py"
    script.write_text(SERVER)

    def make(*, env: dict[str, str] | None = None, health: Health | None = None, **fields: object) -> Spec:
        values: dict[str, object] = {
            "name": "web",
            "command": (sys.executable, "-S", str(script)),
            "host": "127.0.0.1",
            "port": free_port,
            "environment": env or {},
            "health": health or Health(kind="http", path="/", ready_path="/ready", interval=0.2, startup=5, timeout=1),
            "stop_timeout": 10,
            **fields,
        }
        return Spec(**values)  # type: ignore[arg-type]

    return make


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


@pytest.fixture
def until() -> Callable[[Callable[[], object]], object]:
    """Polls a condition for at most ten seconds and returns what it gave."""

    def wait(condition: Callable[[], object]) -> object:
        deadline = time.monotonic() + 10
        while not (value := condition()):
            assert time.monotonic() < deadline, "the condition did not come true within 10 s"
            time.sleep(0.02)
        return value

    return wait
