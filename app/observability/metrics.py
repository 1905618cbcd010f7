"""Prometheus metrics of one API process, in a registry of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from redis.exceptions import RedisError
from sqlalchemy import Select, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.db.models import Job
from app.deadline import Deadline

if TYPE_CHECKING:
    from redis.asyncio import Redis

_BUDGET_SECONDS = 1.0
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counts requests as they go; reads the state of the queue when it is asked for."""

    def __init__(self, *, service: str, version: str) -> None:
        self.registry = CollectorRegistry()
        names = ["method", "route", "status"]
        self._requests = Counter("http_requests", "Requests answered.", names, registry=self.registry)
        self._seconds = Histogram(
            "http_request_duration_seconds", "Time to answer.", names[:2], buckets=_BUCKETS, registry=self.registry
        )
        self._in_flight = Gauge("http_requests_in_flight", "Requests under way.", registry=self.registry)
        info = Gauge("slipway_info", "Which version runs.", ["service", "version"], registry=self.registry)
        info.labels(service, version).set(1)
        self._unsent = Gauge("slipway_outbox_unsent", "Due jobs not put on the queue yet.", registry=self.registry)
        self._oldest = Gauge(
            "slipway_jobs_oldest_due_seconds",
            "Age of the oldest job that is due and not taken.",
            registry=self.registry,
        )
        self._open = Gauge("slipway_jobs_open", "Jobs not finished.", ["state"], registry=self.registry)
        self._queued = Gauge("slipway_queue_length", "Ids waiting on the Redis queue.", registry=self.registry)
        self._up = Gauge("slipway_service_up", "Whether it answered this scrape.", ["service"], registry=self.registry)
        ProcessCollector(registry=self.registry)

    def request_started(self) -> None:
        self._in_flight.inc()

    def request_finished(self, *, method: str, route: str, status: int, seconds: float) -> None:
        self._in_flight.dec()
        self._requests.labels(method, route, str(status or "aborted")).inc()
        self._seconds.labels(method, route).observe(seconds)

    def count_from(self, name: str, help_text: str, read: Callable[[], int]) -> None:
        """Export a count that another object keeps."""
        self.registry.register(_ReadCount(name, help_text, read))

    async def render(self, engine: AsyncEngine, redis: Redis, *, queue: str) -> bytes:
        """The exposition text. A service that does not answer in time leaves its figures as they were, marked down."""
        database_up, redis_up = await asyncio.gather(self._read_jobs(engine), self._read_queue(redis, queue))
        self._up.labels("database").set(database_up)
        self._up.labels("redis").set(redis_up)
        return generate_latest(self.registry)

    async def _read_jobs(self, engine: AsyncEngine) -> bool:
        try:
            async with Deadline(_BUDGET_SECONDS), engine.connect() as connection:
                row = (await connection.execute(_open_jobs())).one()
        except (SQLAlchemyError, OSError, TimeoutError):
            return False
        self._open.labels("pending").set(row.pending)
        self._open.labels("running").set(row.running)
        self._unsent.set(row.unsent)
        self._oldest.set(row.oldest)
        return True

    async def _read_queue(self, redis: Redis, queue: str) -> bool:
        try:
            async with asyncio.timeout(_BUDGET_SECONDS):
                self._queued.set(await redis.llen(f"rq:queue:{queue}"))
        except (RedisError, OSError, TimeoutError):
            return False
        return True


class _ReadCount(Collector):
    def __init__(self, name: str, help_text: str, read: Callable[[], int]) -> None:
        self._name, self._help, self._read = name, help_text, read

    def collect(self) -> list[Metric]:
        return [CounterMetricFamily(self._name, self._help, value=self._read())]


def _open_jobs() -> Select[int, int, int, int]:
    """Reads the partial index of open jobs only, so its cost follows the backlog and not the history."""
    due = (Job.state == "pending") & (Job.run_at <= func.now())
    age = func.extract("epoch", func.now() - func.min(Job.run_at).filter(due))
    return select(
        func.count().filter(Job.state == "pending").label("pending"),
        func.count().filter(Job.state == "running").label("running"),
        func.count().filter(due & Job.enqueued_at.is_(None)).label("unsent"),
        func.coalesce(age, 0).label("oldest"),
    ).where(Job.state.in_(("pending", "running")))
