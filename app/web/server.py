"""MODE=api: uvicorn with a way out that fails no request."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator
from functools import partial
from types import FrameType

import uvicorn

from app import fail_fast
from app.observability import traces
from app.observability.logging import get_logger
from app.web.application import Api
from app.web.middleware.drain import Drain
from app.web.protocol import BoundedProtocol
from app.web.sockets import BACKLOG, SocketError, listening

EXIT_FORCED = 130
"""After a second signal: requests under way were cut."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_FIRST_REQUEST_SECONDS = 1.0

log = get_logger()


class Server(uvicorn.Server):
    """Goes in steps: answer with `Connection: close` for `drain_seconds`, stop accepting, let requests end.

    A second signal ends it at once.
    """

    def __init__(
        self, config: uvicorn.Config, *, drain: Drain, drain_seconds: float, on_stop: Callable[[], None] | None = None
    ) -> None:
        """`on_stop` is called in the signal handler, at every signal."""
        super().__init__(config)
        self._drain, self._drain_seconds, self._on_stop = drain, drain_seconds, on_stop
        self._exit_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a handler
        if self._drain.active:
            self.force_exit = self.should_exit = True
        else:
            self._drain.begin()
            self._exit_at = time.monotonic() + self._drain_seconds
        if self._on_stop:
            self._on_stop()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handles the signals and leaves it at that.

        Uvicorn's own raises them again at the end, so that an orderly stop would look like a death by signal.
        """
        before = {sig: signal.signal(sig, self.handle_exit) for sig in _SIGNALS}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)

    async def on_tick(self, counter: int) -> bool:
        if self._exit_at is not None and time.monotonic() >= self._exit_at:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        await self._await_first_requests()
        await super().shutdown(sockets)

    async def _await_first_requests(self) -> None:
        """Uvicorn drops connections without a request; one accepted this moment has its request still on the way."""
        deadline = time.monotonic() + _FIRST_REQUEST_SECONDS
        while time.monotonic() < deadline and not self.force_exit:
            if all(getattr(connection, "cycle", None) for connection in self.server_state.connections):
                return
            await asyncio.sleep(0.02)


def run(api: Api, *, on_stop: Callable[[], None] | None = None) -> int:
    """Serve until a signal; the exit code."""
    settings = api.settings
    try:
        sockets = listening(host=settings.host, port=settings.port, environ=os.environ, pid=os.getpid())
    except SocketError as error:
        log.error("cannot listen", reason=str(error))
        return 1
    server = Server(config(api), drain=api.drain, drain_seconds=settings.shutdown_drain / 1000, on_stop=on_stop)
    failed = _end_when_a_thread_fails(api)
    log.info("listening", addresses=[_address(s) for s in sockets], pid=os.getpid())
    server.run(sockets=sockets)
    traces.stop()
    log.info("stopped", forced=server.force_exit)
    if failed.is_set():
        return fail_fast.EXIT_FAILED
    return EXIT_FORCED if server.force_exit else 0


def _end_when_a_thread_fails(api: Api) -> threading.Event:
    """Ends this process as a signal does, with its requests answered; set when it was for that."""
    failed = threading.Event()

    def end() -> None:
        on_its_way = failed.is_set() or api.drain.active
        failed.set()
        if not on_its_way:
            # A second one would cut the requests.
            os.kill(os.getpid(), signal.SIGTERM)

    fail_fast.install(end)
    return failed


def config(api: Api) -> uvicorn.Config:
    settings = api.settings
    return uvicorn.Config(
        api.app,
        http=partial(BoundedProtocol, rejected=api.rejected),  # type: ignore[arg-type]
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="on",
        ws="none",
        backlog=BACKLOG,
        timeout_keep_alive=max(1, settings.keep_alive_timeout // 1000),
        timeout_graceful_shutdown=max(1, settings.shutdown_timeout // 1000),
    )


def _address(listener: socket.socket) -> str:
    name = listener.getsockname()
    if not isinstance(name, tuple):
        return f"unix:{name}"
    return f"http://[{name[0]}]:{name[1]}" if ":" in name[0] else f"http://{name[0]}:{name[1]}"
