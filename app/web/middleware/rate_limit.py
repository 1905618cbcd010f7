"""Requests per window and caller, counted in Redis so that all replicas share the count."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import TooManyRequests
from app.web.authentication import Authenticate, identify
from app.web.client_address import ClientAddress, network_of
from app.web.fail_open import FailOpen

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool

# A load balancer that gets a 429 takes the replica out of service.
EXEMPT_PATHS = frozenset({"/health", "/health/live", "/metrics"})


class Limiter:
    """Counts a hit. Without Redis everything passes, and `skipped` counts it."""

    def __init__(self, pool: ConnectionPool, *, limit: int, window_seconds: int) -> None:
        storage = RedisStorage("async+redis://", implementation="redispy", connection_pool=pool)  # type: ignore[arg-type]
        self._strategy = SlidingWindowCounterRateLimiter(storage)
        self._item = RateLimitItemPerSecond(limit, window_seconds, namespace="slipway")
        self.limit, self.window_seconds = limit, window_seconds
        self._redis = FailOpen("rate limit")

    @property
    def skipped(self) -> int:
        return self._redis.skipped

    async def hit(self, key: str) -> tuple[bool, int, int] | None:
        """Whether the hit is allowed, how many are left, and in how many seconds that changes; None when unknown."""

        async def count() -> tuple[bool, int, int]:
            allowed = await self._strategy.hit(self._item, key)
            stats = await self._strategy.get_window_stats(self._item, key)
            return allowed, stats.remaining, max(1, round(stats.reset_time - time.time()))

        return await self._redis.ask(count)


class RateLimitMiddleware:
    """By account for a valid token, else by client address: one noisy user does not block an office behind one NAT."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        limiter: Limiter,
        authenticate: Authenticate,
        client_address: ClientAddress,
        exempt: tuple[str, ...] = (),
    ) -> None:
        self.app = app
        """`exempt`: beginnings of paths."""
        self.limiter, self.authenticate, self.client_address = limiter, authenticate, client_address
        self.exempt = exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_exempt(scope["path"]):
            await self.app(scope, receive, send)
            return
        limiter = self.limiter
        outcome = await limiter.hit(self._key(scope))
        if outcome is None:
            await self.app(scope, receive, send)
            return
        allowed, remaining, reset = outcome
        limits = {
            "RateLimit-Policy": f'"default";q={limiter.limit};w={limiter.window_seconds}',
            "RateLimit": f'"default";r={remaining};t={reset}',
        }
        if not allowed:
            detail = f"at most {limiter.limit} requests in {limiter.window_seconds} s, try again in {reset} s"
            raise TooManyRequests(detail, headers={**limits, "Retry-After": str(reset)})

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(limits)
            await send(message)

        await self.app(scope, receive, marked)

    def _key(self, scope: Scope) -> str:
        if isinstance(identity := identify(scope, self.authenticate), uuid.UUID):
            return f"account:{identity}"
        return f"address:{network_of(self.client_address.of(scope))}"

    def _is_exempt(self, path: str) -> bool:
        return path in EXEMPT_PATHS or path.startswith(self.exempt)
