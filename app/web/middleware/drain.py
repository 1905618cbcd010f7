"""Draining: the process still answers, and has every client take its next request elsewhere."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Drain:
    """Whether this process drains."""

    def __init__(self) -> None:
        self.active = False

    def begin(self) -> None:
        self.active = True


class DrainMiddleware:
    """Answers with `Connection: close` while the process drains, so that clients take their next request elsewhere."""

    def __init__(self, app: ASGIApp, *, drain: Drain) -> None:
        self.app = app
        self.drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def closing(message: Message) -> None:
            # Asked at the answer, not at the request: the signal may come in between.
            if message["type"] == "http.response.start" and self.drain.active:
                headers = [(name, value) for name, value in message["headers"] if name.lower() != b"connection"]
                message["headers"] = [*headers, (b"connection", b"close")]
            await send(message)

        await self.app(scope, receive, closing if scope["type"] == "http" else send)
