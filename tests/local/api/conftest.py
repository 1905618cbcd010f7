"""The API in process against real servers, and as a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from app import composition
from app.settings import Settings
from app.web.application import Api

SIGNING_KEY = secrets.token_urlsafe(64)
PASSWORD = "correct horse battery"


@dataclass
class Caller:
    """Requests to one application. `as_user` registers and logs in, and returns the headers to send."""

    http: httpx2.AsyncClient
    api: Api

    async def as_user(self, email: str = "someone@example.org") -> dict[str, str]:
        account = {"email": email, "password": PASSWORD}
        registered = await self.http.post("/v1/auth/register", json=account)
        assert registered.status_code == 201, registered.text
        tokens = (await self.http.post("/v1/auth/login", json=account)).json()
        return {"Authorization": f"Bearer {tokens['access_token']}"}


Start = Callable[..., AbstractAsyncContextManager[Caller]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def environ(migrated_url: str, redis_url: str) -> dict[str, str]:
    """A complete environment for MODE=api."""
    return {
        "MODE": "api",
        "ENVIRONMENT": "test",
        "DATABASE_URL": migrated_url,
        "REDIS_URL": redis_url,
        "JWT_SECRET": SIGNING_KEY,
        "RATE_LIMIT_MAX": "10000",
        "LOGIN_FAILURES_MAX": "10000",
        "SHUTDOWN_DRAIN": "300",
    }


@pytest.fixture
def start(environ: dict[str, str]) -> Start:
    """`async with start(RATE_LIMIT_MAX="3") as caller`: an application with these settings changed."""

    @asynccontextmanager
    async def run(**changes: str) -> AsyncIterator[Caller]:
        api = composition.api(Settings.load({**environ, **changes}))
        async with api.app.router.lifespan_context(api.app) as state:

            async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
                await api.app({**scope, "state": dict(state or {})}, receive, send)

            transport = httpx2.ASGITransport(app=with_state, client=("127.0.0.1", 5000))
            async with httpx2.AsyncClient(transport=transport, base_url="http://api") as client:
                yield Caller(http=client, api=api)

    return run


@dataclass
class Process:
    """`python -m app` in a process of its own."""

    popen: subprocess.Popen[bytes]
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def stop(self, timeout: float = 30) -> int:
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(timeout)


@pytest.fixture
def spawn(environ: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start `python -m app`; `listeners` are inherited from descriptor 3 on."""
    with ExitStack() as stack:

        def run(*, listeners: Sequence[socket.socket] = (), **changes: str) -> Process:
            log = tmp_path / f"app-{time.monotonic_ns()}.log"
            inherited = {"LISTEN_FDS": str(len(listeners))} if listeners else {}
            command = [sys.executable, "-c", _EXEC, *(str(s.fileno()) for s in listeners)]
            with log.open("wb") as output:
                popen = subprocess.Popen(
                    command,
                    env={"PATH": os.environ["PATH"], **environ, **inherited, **changes},
                    pass_fds=[s.fileno() for s in listeners],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            stack.callback(_end, popen)
            return Process(popen, log)

        yield run


# Moves the listeners to descriptors 3, 4, ... as a supervisor does, then becomes the application.
_EXEC = """
import os, sys
given = [os.dup(int(fd)) for fd in sys.argv[1:]]
high = [os.dup2(fd, 100 + n) for n, fd in enumerate(given)]
for n, fd in enumerate(high):
    os.dup2(fd, 3 + n, inheritable=True)
os.execv(sys.executable, [sys.executable, "-m", "app"])
"""


def _end(popen: subprocess.Popen[bytes]) -> None:
    if popen.poll() is None:
        popen.kill()
    popen.wait(10)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening socket on a free port."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as bound:
        yield bound


def ask(port: int, path: str = "/health", *, timeout: float = 5) -> tuple[int, dict[str, Any]]:
    """Status and JSON body of one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text.startswith(b"{") else {"text": text.decode()}
    finally:
        connection.close()


@pytest.fixture
def asking() -> Callable[..., tuple[int, dict[str, Any]]]:
    return ask


@pytest.fixture
def until() -> Callable[..., Any]:
    """`until(check)` polls until `check()` is true and returns that; connection errors count as not yet."""

    def poll(check: Callable[[], Any], *, seconds: float = 20) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            try:
                if result := check():
                    return result
            except (OSError, http.client.HTTPException):
                pass
            assert time.monotonic() < deadline, f"not within {seconds} s"
            time.sleep(0.02)

    return poll
