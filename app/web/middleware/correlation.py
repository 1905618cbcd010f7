"""A correlation id for each request: taken from the caller or made, in every log line, and in the answer."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.observability import correlation


class CorrelationMiddleware:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with correlation.bound(Headers(scope=scope).get(correlation.HEADER)) as correlation_id:

            async def marked(message: Message) -> None:
                if message["type"] == "http.response.start":
                    MutableHeaders(scope=message)[correlation.HEADER] = correlation_id
                await send(message)

            await self.app(scope, receive, marked)
