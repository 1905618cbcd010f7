"""Prometheus metrics of one API process, in a registry of its own.

Every replica counts its own requests. What it says of the queues is read when it is asked, so every replica says the
same: whoever adds up over replicas adds up requests, and takes the largest of the queues' figures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy.ext.asyncio import AsyncEngine

from app.deadline import Deadline
from app.observability.queue_metrics import UNREADABLE, BrokerFigures, JobFigures, read_broker, read_jobs

if TYPE_CHECKING:
    from redis.asyncio import Redis

T = TypeVar("T")

# A second series for each counter and each bucket's histogram, which says when it was made and nothing else.
disable_created_metrics()  # type: ignore[no-untyped-call]

_BUDGET_SECONDS = 1.0
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counts requests as they go; reads the state of the queues when it is asked for."""

    def __init__(self, *, service: str, version: str, queues: Sequence[str]) -> None:
        self.registry = CollectorRegistry()
        self._queues = tuple(dict.fromkeys(queues))
        names = ["method", "route", "status"]
        self._requests = Counter("http_requests", "Requests answered.", names, registry=self.registry)
        self._seconds = Histogram(
            "http_request_duration_seconds", "Time to answer.", names[:2], buckets=_BUCKETS, registry=self.registry
        )
        self._in_flight = Gauge("http_requests_in_flight", "Requests under way.", registry=self.registry)
        export_version(self.registry, service=service, version=version)
        self._up = Gauge("slipway_service_up", "Whether it answered this scrape.", ["service"], registry=self.registry)
        self._figures = _Figures()
        self.registry.register(self._figures)
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

    async def render(self, engine: AsyncEngine, redis: Redis) -> bytes:
        """The exposition text. A service that does not answer in time is marked down, and its figures are left out."""
        jobs, broker = await asyncio.gather(
            _within_budget(read_jobs(engine, self._queues)), _within_budget(read_broker(redis, self._queues))
        )
        self._up.labels("database").set(jobs is not None)
        self._up.labels("redis").set(broker is not None)
        # No other request can come in between: nothing is awaited from here on.
        self._figures.show(jobs or {}, broker or {})
        return generate_latest(self.registry)


def export_version(registry: CollectorRegistry, *, service: str, version: str) -> None:
    info = Gauge("slipway_info", "Which version runs.", ["service", "version"], registry=registry)
    info.labels(service, version).set(1)


async def _within_budget(reading: Awaitable[T]) -> T | None:
    try:
        async with Deadline(_BUDGET_SECONDS):
            return await reading
    except UNREADABLE:
        return None


class _Figures(Collector):
    """The figures of the scrape under way, and none of an earlier one."""

    def __init__(self) -> None:
        self._jobs: Mapping[str, JobFigures] = {}
        self._broker: Mapping[str, BrokerFigures] = {}

    def show(self, jobs: Mapping[str, JobFigures], broker: Mapping[str, BrokerFigures]) -> None:
        self._jobs, self._broker = jobs, broker

    def collect(self) -> Iterator[Metric]:
        if self._jobs:
            yield from self._of_postgres()
        if self._broker:
            yield from self._of_redis()

    def _of_postgres(self) -> Iterator[Metric]:
        jobs = self._jobs.items()
        states = [
            ((queue, state), count)
            for queue, found in jobs
            for state, count in (("due", found.due), ("later", found.later), ("running", found.running))
        ]
        yield _gauge("slipway_jobs_open", "Jobs not finished, in Postgres.", states, "queue", "state")
        oldest = [((queue,), found.oldest_due) for queue, found in jobs]
        yield _gauge("slipway_jobs_oldest_due_seconds", "How long the oldest due job waits.", oldest, "queue")
        failed = [((queue,), found.failed) for queue, found in jobs]
        yield _gauge("slipway_jobs_failed_recently", "Jobs dead within five minutes.", failed, "queue")
        unsent = [((queue,), found.unsent) for queue, found in jobs]
        yield _gauge("slipway_outbox_unsent", "Due jobs not known to be on the queue.", unsent, "queue")
        age = [((queue,), found.oldest_unsent) for queue, found in jobs]
        yield _gauge("slipway_outbox_oldest_seconds", "How long the oldest of them is due.", age, "queue")

    def _of_redis(self) -> Iterator[Metric]:
        broker = self._broker.items()
        queued = [((queue,), found.queued) for queue, found in broker]
        yield _gauge("slipway_queue_length", "Ids waiting on the Redis queue.", queued, "queue")
        registries = [((queue, name), size) for queue, found in broker for name, size in found.registries.items()]
        yield _gauge("slipway_rq_registry_jobs", "Entries of RQ's registries.", registries, "queue", "registry")
        overdue = [((queue,), found.overdue) for queue, found in broker]
        yield _gauge("slipway_rq_overdue_seconds", "How late the first scheduled job is.", overdue, "queue")
        workers = [((queue,), found.workers) for queue, found in broker]
        yield _gauge("slipway_workers", "Workers with a heartbeat.", workers, "queue")
        ages = [((queue,), found.heartbeat_age) for queue, found in broker if found.heartbeat_age is not None]
        yield _gauge("slipway_worker_last_seen_seconds", "Since a worker's last heartbeat.", ages, "queue")


def _gauge(name: str, text: str, values: Iterable[tuple[tuple[str, ...], float]], *labels: str) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family


class _ReadCount(Collector):
    def __init__(self, name: str, help_text: str, read: Callable[[], int]) -> None:
        self._name, self._help, self._read = name, help_text, read

    def collect(self) -> list[Metric]:
        return [CounterMetricFamily(self._name, self._help, value=self._read())]
