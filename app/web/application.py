"""The API: its routes, its middleware from the outside in, and what it holds while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Route

from app import fail_fast
from app.db.engine import async_engine, async_probe_engine
from app.errors import AppError
from app.observability import correlation, traces
from app.queue.outbox import Announcer
from app.settings import Settings
from app.web import operational_endpoints
from app.web.authentication import Authenticate
from app.web.client_address import ClientAddress
from app.web.connections import RejectedRequests
from app.web.health import Health
from app.web.middleware.access_log import AccessLogMiddleware
from app.web.middleware.compression import CompressionMiddleware
from app.web.middleware.correlation import CorrelationMiddleware
from app.web.middleware.drain import Drain, DrainMiddleware
from app.web.middleware.limits import BodyLimitMiddleware, RequestTimeoutMiddleware
from app.web.middleware.security_headers import SecurityHeadersMiddleware
from app.web.operations import Operation
from app.web.operations import routes as operation_routes
from app.web.problems import ProblemMiddleware, on_error
from app.web.state import Lifespan, State

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from app.observability.metrics import Metrics
    from app.queue.collector import QueueCollector
    from app.web.middleware.rate_limit import Limiter

_REDIS_TIMEOUT = 1.0


class Api:
    """One process's API. `app` is the ASGI application; `drain.begin()` announces the end of the process."""

    def __init__(
        self,
        settings: Settings,
        *,
        operations: Sequence[Operation],
        lifespans: Sequence[Lifespan] = (),
        authenticate: Authenticate,
        started: float | None = None,
    ) -> None:
        """`started` by time.monotonic(): when the process began, for the uptime."""
        self.settings = settings
        self.drain = Drain()
        self._operations, self._lifespans, self._authenticate = operations, lifespans, authenticate
        self.started = time.monotonic() if started is None else started
        self._redis_pool = _redis_pool(settings)
        self._client_address = ClientAddress(settings.trusted_proxies)
        self.rejected = RejectedRequests()
        self._metrics: Metrics | None
        self._queue_metrics: QueueCollector | None
        self._metrics, self._queue_metrics = self._make_metrics()
        self._limiter = self._make_limiter()
        self.app = Starlette(
            routes=self._routes(),
            middleware=self._middleware(),
            exception_handlers={HTTPException: on_error, AppError: on_error},
            lifespan=self._lifespan,
        )
        # A redirect for a trailing slash would have a POST with a body sent again; it is a plain 404.
        self.app.router.redirect_slashes = False

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[dict[str, Any]]:
        """Connects to nothing: the process listens at once, and `/health` says what is missing."""
        settings = self.settings
        engine, probe_engine = async_engine(settings), async_probe_engine(settings)
        redis = Redis(connection_pool=self._redis_pool)
        announcer = Announcer.of(settings)
        if self._metrics:
            self._metrics.count_from("slipway_nudge_failures", "Jobs left to the sweeper.", lambda: announcer.failed)
        health = Health(
            engine=probe_engine,
            redis=redis,
            version=settings.service_version,
            is_draining=lambda: self.drain.active,
            started=self.started,
        )
        statistics = asyncio.create_task(self._write_statistics(engine, redis), name="queue-figures")
        fail_fast.watch(statistics)
        state = State(
            settings=settings,
            engine=engine,
            probe_engine=probe_engine,
            redis=redis,
            authenticate=self._authenticate,
            client_address=self._client_address,
            announcer=announcer,
            health=health,
            metrics=self._metrics,
            queue_metrics=self._queue_metrics,
        )
        try:
            async with contextlib.AsyncExitStack() as features:
                added = [await features.enter_async_context(lifespan(state)) for lifespan in self._lifespans]
                yield {**state, **{name: value for one in added for name, value in one.items()}}
        finally:
            statistics.cancel()
            await asyncio.wait({statistics})
            # It waits for its thread, which must not keep other requests' answers back.
            await asyncio.to_thread(announcer.close)
            await engine.dispose()
            await probe_engine.dispose()
            await self._redis_pool.aclose()

    async def _write_statistics(self, engine: AsyncEngine, redis: Redis) -> None:
        if not self.settings.enable_emf:
            return
        from app.queue.emf import Emitter

        await Emitter.of(self.settings, engine=engine, redis=redis).run()

    def _routes(self) -> list[BaseRoute]:
        routes: list[BaseRoute] = [
            *operation_routes(self._operations),
            Route("/health/live", operational_endpoints.live),
        ]
        if self.settings.enable_health_check:
            routes.append(Route("/health", operational_endpoints.health))
        if self.settings.enable_metrics:
            routes.append(Route("/metrics", operational_endpoints.metrics))
        if self.settings.enable_swagger:
            from app.web.docs import routes as docs_routes

            routes.extend(docs_routes(self.settings, self._operations))
        return routes

    def _middleware(self) -> list[Middleware]:
        settings = self.settings
        client_address = self._client_address
        stack = [
            Middleware(CorrelationMiddleware),
            *_traced(client_address),
            Middleware(AccessLogMiddleware, recorder=self._metrics, client_address=client_address),
            Middleware(SecurityHeadersMiddleware),
            Middleware(DrainMiddleware, drain=self.drain),
        ]
        if settings.cors_origin:
            stack.append(_cors(settings))
        stack += [
            Middleware(CompressionMiddleware),
            Middleware(ProblemMiddleware),
            Middleware(RequestTimeoutMiddleware, seconds=settings.request_timeout / 1000),
        ]
        if self._limiter:
            from app.web.middleware.rate_limit import RateLimitMiddleware

            stack.append(
                Middleware(
                    RateLimitMiddleware,
                    limiter=self._limiter,
                    authenticate=self._authenticate,
                    client_address=client_address,
                    exempt=tuple(one.path.partition("{")[0] for one in self._operations if not one.rate_limited),
                )
            )
        return [*stack, Middleware(BodyLimitMiddleware, size=settings.body_limit)]

    def _make_metrics(self) -> tuple[Metrics, QueueCollector] | tuple[None, None]:
        if not self.settings.enable_metrics:
            return None, None
        from app.observability.metrics import Metrics
        from app.queue.collector import QueueCollector

        settings = self.settings
        metrics = Metrics(service=settings.service_name, version=settings.service_version)
        rejected = self.rejected
        metrics.count_from("slipway_heads_too_large", "Requests refused with 431 or 414.", lambda: rejected.too_large)
        metrics.count_from("slipway_heads_too_late", "Requests refused with 408.", lambda: rejected.too_late)
        metrics.count_from("slipway_requests_malformed", "What was no request of HTTP.", lambda: rejected.malformed)
        return metrics, QueueCollector((settings.queue_name, *settings.emf_queues), metrics.registry)

    def _make_limiter(self) -> Limiter | None:
        if not self.settings.enable_rate_limit:
            return None
        from app.web.middleware.rate_limit import Limiter

        limiter = Limiter(
            self._redis_pool,
            limit=self.settings.rate_limit_max,
            window_seconds=max(1, round(self.settings.rate_limit_timewindow / 1000)),
        )
        if self._metrics:
            self._metrics.count_from(
                "slipway_rate_limit_skipped", "Requests not counted for want of Redis.", lambda: limiter.skipped
            )
        return limiter


def _traced(client_address: ClientAddress) -> list[Middleware]:
    if (tracing := traces.active()) is None:
        return []
    from app.web.middleware.tracing import TracingMiddleware

    return [Middleware(TracingMiddleware, tracing=tracing, client_address=client_address)]


def _cors(settings: Settings) -> Middleware:
    return Middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origin,
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", correlation.HEADER],
        expose_headers=[correlation.HEADER, "ETag", "Location", "RateLimit", "RateLimit-Policy", "Retry-After"],
        max_age=600,
    )


def _redis_pool(settings: Settings) -> ConnectionPool:
    """Short timeouts and one retry: no request may wait for a Redis that is away."""
    return ConnectionPool.from_url(
        settings.redis_url.get_secret_value(),
        socket_timeout=_REDIS_TIMEOUT,
        socket_connect_timeout=_REDIS_TIMEOUT,
        retry=Retry(NoBackoff(), 1),
        client_name=f"{settings.service_name}-api",
    )
