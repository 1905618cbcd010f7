"""The queues' statistics for Prometheus, as a replica of the API serves them.

They are read at each scrape, so that every replica says the same: to be added up over replicas are the counts of
requests, and of these the largest is taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.ext.asyncio import AsyncEngine

from app.deadline import Deadline
from app.queue.statistics import UNREADABLE, BrokerStatistics, JobStatistics, read_broker, read_jobs

if TYPE_CHECKING:
    from redis.asyncio import Redis

T = TypeVar("T")

_BUDGET_SECONDS = 1.0


class QueueCollector(Collector):
    """What was read for the scrape under way, and nothing of an earlier one."""

    def __init__(self, queues: Sequence[str], registry: CollectorRegistry) -> None:
        self._queues = tuple(dict.fromkeys(queues))
        self._jobs: Mapping[str, JobStatistics] = {}
        self._broker: Mapping[str, BrokerStatistics] = {}
        self._up = Gauge("slipway_service_up", "Whether it answered this scrape.", ["service"], registry=registry)
        registry.register(self)

    async def read(self, engine: AsyncEngine, redis: Redis) -> None:
        """A service that does not answer in time is marked down, and what it would have said is left out.

        To be collected before anything else is awaited: another request would read for itself in between.
        """
        jobs, broker = await asyncio.gather(
            _within_budget(read_jobs(engine, self._queues)), _within_budget(read_broker(redis, self._queues))
        )
        self._up.labels("database").set(jobs is not None)
        self._up.labels("redis").set(broker is not None)
        self._jobs, self._broker = jobs or {}, broker or {}

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


async def _within_budget(reading: Awaitable[T]) -> T | None:
    try:
        async with Deadline(_BUDGET_SECONDS):
            return await reading
    except UNREADABLE:
        return None
