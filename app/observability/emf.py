"""The queues' figures as log lines in CloudWatch's embedded metric format: metrics without a client or credentials.

The API writes them, because workers that are scaled to nothing could not. Each replica writes the same, read from the
same tables, so whoever looks takes the largest value of a period. What could not be read is left out, so that nobody
takes silence for an empty queue. `infra/aws/queue_metrics.py` has the same names.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TextIO

from redis.exceptions import RedisError
from sqlalchemy import Select, func, literal, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.db.models import Job
from app.deadline import Deadline
from app.observability.logging import get_logger
from app.settings import Settings

if TYPE_CHECKING:
    from redis.asyncio import Redis

NAMESPACE: Final = "Slipway"
UNITS: Final = {
    "QueueDepth": "Count",
    "OldestJobWaitSeconds": "Seconds",
    "RunningJobs": "Count",
    "FailedJobs": "Count",
    "OutboxUnsent": "Count",
    "OutboxOldestSeconds": "Seconds",
    "Workers": "Count",
}
FAILED_WITHIN: Final = timedelta(minutes=5)
"""What `FailedJobs` counts: jobs that failed for good within that time, not all that ever did."""

_BUDGET_SECONDS: Final = 10.0
"""A long backlog takes long to count, and is when the figures matter most."""
_WORKERS_KEY: Final = "rq:workers:{}"
"""RQ's set of a queue's workers. One that was killed stays in it; its own key ends with its heartbeat."""

Figures = dict[str, float]

log = get_logger()


class Emitter:
    """Writes a line for each queue every `interval` seconds."""

    def __init__(
        self,
        *,
        engine: AsyncEngine,
        redis: Redis,
        stack: str,
        queues: Sequence[str],
        interval: float,
        out: TextIO | None = None,
    ) -> None:
        """`out` is standard output unless given."""
        self._engine, self._redis = engine, redis
        self._stack, self._queues, self._interval = stack, tuple(dict.fromkeys(queues)), interval
        self._out = out
        self._failing: set[str] = set()

    @classmethod
    def of(cls, settings: Settings, *, engine: AsyncEngine, redis: Redis) -> Emitter:
        return cls(
            engine=engine,
            redis=redis,
            stack=settings.stack_name,
            queues=(settings.queue_name, *settings.emf_queues),
            interval=settings.emf_interval / 1000,
        )

    async def run(self) -> None:
        """Until cancelled. The time that a round takes is part of its interval: no period may be left without."""
        while True:
            begun = time.monotonic()
            try:
                await self.emit()
            except Exception as error:  # noqa: BLE001 - one round that fails must not be the last: nothing would scale
                self._tell("writing", error)
            else:
                self._tell("writing", None)
            await asyncio.sleep(max(0.0, self._interval - (time.monotonic() - begun)))

    async def emit(self) -> None:
        """One round."""
        jobs, workers = await asyncio.gather(self._read_jobs(), self._read_workers())
        for queue in self._queues:
            if figures := {**jobs.get(queue, {}), **workers.get(queue, {})}:
                self._write(line(stack=self._stack, queue=queue, figures=figures, now=time.time()))

    def _write(self, text: str) -> None:
        out = self._out or sys.stdout
        out.write(text + "\n")
        out.flush()

    async def _read_jobs(self) -> Mapping[str, Figures]:
        try:
            async with Deadline(_BUDGET_SECONDS), self._engine.connect() as connection:
                open_jobs = (await connection.execute(_open_jobs())).all()
                failed = {row.queue: row.failed for row in (await connection.execute(_failed_jobs())).all()}
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            self._tell("database", error)
            return {}
        self._tell("database", None)
        # A queue without a row is an empty one, which is worth saying: zeros are what workers are removed by.
        found = {queue: dict.fromkeys(UNITS.keys() - {"Workers"}, 0.0) for queue in self._queues}
        for row in open_jobs:
            if row.queue in found:
                found[row.queue] |= {
                    "QueueDepth": row.due,
                    "OldestJobWaitSeconds": round(float(row.oldest_due), 3),
                    "RunningJobs": row.running,
                    "OutboxUnsent": row.unsent,
                    "OutboxOldestSeconds": round(float(row.oldest_unsent), 3),
                }
        for queue, count in failed.items():
            if queue in found:
                found[queue]["FailedJobs"] = count
        return found

    async def _read_workers(self) -> Mapping[str, Figures]:
        try:
            async with asyncio.timeout(_BUDGET_SECONDS):
                found = {queue: {"Workers": float(await self._alive(queue))} for queue in self._queues}
        except (RedisError, OSError, TimeoutError) as error:
            self._tell("redis", error)
            return {}
        self._tell("redis", None)
        return found

    async def _alive(self, queue: str) -> int:
        members: Any = self._redis.smembers(_WORKERS_KEY.format(queue))
        names = await members
        return int(await self._redis.exists(*names)) if names else 0

    def _tell(self, service: str, error: Exception | None) -> None:
        """An outage is one line in the log, not one a round."""
        if error is not None and service not in self._failing:
            log.warning("queue figures incomplete", failing=service, reason=type(error).__name__)
        elif error is None and service in self._failing:
            log.info("queue figures complete again", working=service)
        (self._failing.discard if error is None else self._failing.add)(service)


def line(*, stack: str, queue: str, figures: Mapping[str, float], now: float) -> str:
    """One line of figures at `now`, in seconds since 1970."""
    names = [name for name in UNITS if name in figures]
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [["Stack", "Queue"]],
        "Metrics": [{"Name": name, "Unit": UNITS[name]} for name in names],
    }
    meta = {"Timestamp": round(now * 1000), "CloudWatchMetrics": [directive]}
    values = {name: figures[name] for name in names}
    return json.dumps({"_aws": meta, "Stack": stack, "Queue": queue, **values}, separators=(",", ":"))


def _open_jobs() -> Select[Any]:
    """Reads the partial index of open jobs only, so its cost follows the backlog and not the history."""
    due = (Job.state == "pending") & (Job.run_at <= func.now())
    unsent = due & Job.enqueued_at.is_(None)
    return (
        select(
            Job.queue,
            func.count().filter(due).label("due"),
            _age(due).label("oldest_due"),
            func.count().filter(Job.state == "running").label("running"),
            func.count().filter(unsent).label("unsent"),
            _age(unsent).label("oldest_unsent"),
        )
        .where(Job.state.in_(("pending", "running")))
        .group_by(Job.queue)
    )


def _age(which: Any) -> Any:
    return func.coalesce(func.extract("epoch", func.now() - func.min(Job.run_at).filter(which)), 0)


def _failed_jobs() -> Select[str, int]:
    """Reads the partial index of jobs that failed for good, from its newest end."""
    recent = Job.finished_at > func.now() - literal(FAILED_WITHIN)
    return select(Job.queue, func.count().label("failed")).where(Job.state == "dead", recent).group_by(Job.queue)
