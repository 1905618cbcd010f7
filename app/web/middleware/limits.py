"""Bounds of one request: its time and the size of its body."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from app.deadline import Deadline
from app.errors import ContentTooLarge, Unavailable

_CLOSE = {"Connection": "close"}
_DIGITS = 18
"""Of a declared length; Python reads no number of more than 4,300."""


class RequestTimeoutMiddleware:
    """Cancels a request that takes longer than `seconds`, which also gives back its database connection."""

    def __init__(self, app: ASGIApp, *, seconds: float) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            async with Deadline(self.seconds) as deadline:
                await self.app(scope, receive, send)
        except TimeoutError:
            if not deadline.expired:
                raise
            raise Unavailable(f"the request took longer than {self.seconds:g} s", headers=_CLOSE) from None


class BodyLimitMiddleware:
    """Refuses a body above `size` bytes: by its declared length before reading any of it, else while it is read."""

    def __init__(self, app: ASGIApp, *, size: int) -> None:
        # Starlette answers a declared length in plain text; refusing it here keeps the answer a problem document.
        self.app = RequestBodyLimitMiddleware(app, max_body_size=size)
        self.size = size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            declared = Headers(scope=scope).get("content-length", "")
            if declared.isdecimal() and (len(declared) > _DIGITS or int(declared) > self.size):
                raise ContentTooLarge(f"the body may have at most {self.size:,} bytes", headers=_CLOSE)
        await self.app(scope, receive, send)
