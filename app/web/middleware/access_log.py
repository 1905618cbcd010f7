"""One log line and one measurement a request."""

from __future__ import annotations

import time
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.observability.logging import get_logger
from app.web.client_address import ClientAddress

# Probes come every few seconds and say the same each time.
_PROBES = ("/health", "/health/live", "/metrics")

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
"""A caller may send any word as its method; each would be a time series of its own."""

log = get_logger()


class Recorder(Protocol):
    def request_started(self) -> None: ...

    def request_finished(self, *, method: str, route: str, status: int, seconds: float) -> None: ...


class AccessLogMiddleware:
    """Logs the path without its query, which may hold secrets."""

    def __init__(self, app: ASGIApp, *, recorder: Recorder | None, client_address: ClientAddress) -> None:
        self.app = app
        self.recorder = recorder
        self.client_address = client_address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 0

        async def send_wrapper(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.perf_counter()
        if self.recorder:
            self.recorder.request_started()
        try:
            await self.app(scope, receive, send_wrapper)
        finally:
            self._record(scope, status, time.perf_counter() - started)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        # Only the template of a route: with raw paths every id would be a time series of its own.
        route = getattr(scope.get("route"), "path", "unmatched")
        if self.recorder:
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.recorder.request_finished(method=method, route=route, status=status, seconds=seconds)
        write = log.debug if scope["path"] in _PROBES and status == 200 else log.info
        write(
            "request",
            method=scope["method"],
            path=scope["path"],
            route=route,
            status=status or "aborted",
            duration_ms=round(seconds * 1000, 2),
            client=self.client_address.of(scope),
        )
