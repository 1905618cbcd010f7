"""The image built by the Docker engine at hand, and containers of it beside the servers of the tests.

They share the network of this machine, so that a receiver on loopback is one for them too, and reach the databases
through their sockets. SLIPWAY_TEST_BASE_IMAGE and SLIPWAY_TEST_POSTGRES_IMAGE name other images to build on.
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import shutil
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import certifi
import pytest

ROOT = Path(__file__).parents[3]
VERSION, REVISION = "1.2.3", "0123456789abcdef"
_BASES = {"BASE": "SLIPWAY_TEST_BASE_IMAGE", "POSTGRES": "SLIPWAY_TEST_POSTGRES_IMAGE"}
_TIMEOUT = 30.0


def docker(*arguments: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=timeout)
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout}{done.stderr}"
    return done


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image, built without its authorities' place in the world: from a stand-in on loopback."""
    if shutil.which("docker") is None:
        pytest.skip("no Docker: the command is not on PATH")
    if docker("version", check=False).returncode:
        pytest.skip("no Docker: no engine answers")
    arguments = {name: os.environ[variable] for name, variable in _BASES.items() if os.environ.get(variable)}
    for name, default in _bases().items():
        base = arguments.get(name, default)
        known = docker("image", "inspect", base, check=False).returncode == 0
        if not known and docker("pull", base, check=False, timeout=300).returncode:
            pytest.skip(f"no base image: {base} is not here and cannot be pulled; {_BASES[name]} names another")
    folder = tmp_path_factory.mktemp("authorities")
    (folder / "rds.pem").write_bytes(Path(certifi.where()).read_bytes())
    tag = f"slipway-test:{uuid.uuid4().hex[:12]}"
    with _Files(folder) as url:
        arguments |= {"RDS_CA_BUNDLE": f"{url}/rds.pem", "VERSION": VERSION, "REVISION": REVISION}
        words = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
        docker("build", "--file", str(ROOT / "app" / "Dockerfile"), "--tag", tag, *words, str(ROOT), timeout=900)
    yield tag
    docker("image", "rm", "--force", tag)


def _bases() -> dict[str, str]:
    lines = (ROOT / "app" / "Dockerfile").read_text().splitlines()
    pairs = (line.removeprefix("ARG ").partition("=") for line in lines if line.startswith("ARG "))
    return {name: value for name, _, value in pairs if name in _BASES}


class _Files:
    """Serves a folder on loopback for as long as the block lasts; gives the URL."""

    def __init__(self, folder: Path) -> None:
        handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@dataclass
class Container:
    name: str

    def inspect(self) -> dict[str, Any]:
        return dict(json.loads(docker("inspect", self.name).stdout)[0])

    @property
    def running_since(self) -> float:
        """Unix time at which its first process began."""
        return datetime.fromisoformat(self.inspect()["State"]["StartedAt"][:26].rstrip("Z") + "+00:00").timestamp()

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return docker("exec", self.name, *command, check=False)

    def log(self) -> str:
        done = docker("logs", self.name)
        return done.stdout + done.stderr

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == name]

    def stop(self) -> int:
        """By the image's stop signal; its exit code. 137 when it had to be killed."""
        docker("stop", "--time", "20", self.name)
        return int(self.inspect()["State"]["ExitCode"])

    def wait(self) -> int:
        return int(docker("wait", self.name).stdout)


@dataclass
class Containers:
    """Run as a task does: not as root, read-only but for /tmp, without capabilities."""

    image: str
    environment: dict[str, str]
    mounts: list[str]
    started: list[Container] = field(default_factory=list)

    def start(self, *command: str, **changes: str) -> Container:
        environment = {**self.environment, **changes}
        container = Container(f"slipway-test-{uuid.uuid4().hex[:12]}")
        self.started.append(container)
        docker(
            *("run", "--detach", "--name", container.name, "--network", "host"),
            *("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
            *(word for mount in self.mounts for word in ("--volume", mount)),
            *(word for name, value in environment.items() for word in ("--env", f"{name}={value}")),
            *(self.image, *command),
        )
        return container


@pytest.fixture
def containers(image: str, postgres_server: str, valkey_socket: Path, redis_url: str) -> Iterator[Containers]:
    """On an empty keyspace. Sockets are mounted one by one: the folders that they are in are their servers' own."""
    valkey_socket.chmod(0o777)
    postgres = Path(postgres_server.partition("host=")[2], ".s.PGSQL.5432")
    environment = {
        "ENVIRONMENT": "test",
        "REDIS_URL": "unix:///servers/valkey.sock",
        "JWT_SECRET": secrets.token_urlsafe(64),
        "HOST": "127.0.0.1",
        "PORT": str(_free_port()),
        "HEALTH_FILE": "/tmp/worker.alive",
        "SHUTDOWN_DRAIN": "100",
        "DELIVERY_ALLOW_HTTP": "true",
        "DELIVERY_ALLOW_PRIVATE_NETWORKS": "true",
    }
    mounts = [f"{postgres}:/servers/{postgres.name}", f"{valkey_socket}:/servers/valkey.sock"]
    all_of_them = Containers(image, environment, mounts)
    yield all_of_them
    for container in all_of_them.started:
        docker("rm", "--force", "--volumes", container.name)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def empty_database(containers: Containers, database_url: str) -> Containers:
    containers.environment["DATABASE_URL"] = database_url.partition("?")[0] + "?host=/servers"
    return containers


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[float]]]:
    """URL of a receiver, and when requests came."""
    times: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            times.append(time.time())
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", times
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + _TIMEOUT
        while not condition():
            assert time.monotonic() < deadline, "it did not come to that in time"
            time.sleep(0.005)

    return wait
