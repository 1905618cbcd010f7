"""The queues' statistics as log lines in CloudWatch's embedded metric format: metrics without client or credentials.

The API writes them, because workers that are scaled to nothing could not. Each replica writes the same, read from the
same tables, so that an alarm takes the largest value of a period. What could not be read is left out, so that silence
is not taken for an empty queue. `infra/aws/queue_metrics.py` has the same names.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, TextIO

from sqlalchemy.ext.asyncio import AsyncEngine

from app.deadline import Deadline
from app.observability.logging import get_logger
from app.queue.statistics import UNREADABLE, read_broker, read_jobs
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
_BUDGET_SECONDS: Final = 10.0
"""A long backlog takes long to count, and is when the numbers matter most."""

Values = dict[str, float]

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
                self._log_change("writing", error)
            else:
                self._log_change("writing", None)
            await asyncio.sleep(max(0.0, self._interval - (time.monotonic() - begun)))

    async def emit(self) -> None:
        """One round."""
        jobs, workers = await asyncio.gather(self._read_jobs(), self._read_workers())
        for queue in self._queues:
            if values := {**jobs.get(queue, {}), **workers.get(queue, {})}:
                self._write(line(stack=self._stack, queue=queue, values=values, now=time.time()))

    def _write(self, text: str) -> None:
        out = self._out or sys.stdout
        out.write(text + "\n")
        out.flush()

    async def _read_jobs(self) -> Mapping[str, Values]:
        try:
            async with Deadline(_BUDGET_SECONDS):
                found = await read_jobs(self._engine, self._queues)
        except UNREADABLE as error:
            self._log_change("database", error)
            return {}
        self._log_change("database", None)
        return {
            queue: {
                "QueueDepth": jobs.due,
                "OldestJobWaitSeconds": jobs.oldest_due,
                "RunningJobs": jobs.running,
                "FailedJobs": jobs.failed,
                "OutboxUnsent": jobs.unsent,
                "OutboxOldestSeconds": jobs.oldest_unsent,
            }
            for queue, jobs in found.items()
        }

    async def _read_workers(self) -> Mapping[str, Values]:
        try:
            async with asyncio.timeout(_BUDGET_SECONDS):
                found = await read_broker(self._redis, self._queues)
        except UNREADABLE as error:
            self._log_change("redis", error)
            return {}
        self._log_change("redis", None)
        return {queue: {"Workers": broker.workers} for queue, broker in found.items()}

    def _log_change(self, service: str, error: Exception | None) -> None:
        """An outage is one line in the log, not one a round."""
        if error is not None and service not in self._failing:
            log.warning("queue figures incomplete", failing=service, reason=type(error).__name__)
        elif error is None and service in self._failing:
            log.info("queue figures complete again", working=service)
        (self._failing.discard if error is None else self._failing.add)(service)


def line(*, stack: str, queue: str, values: Mapping[str, float], now: float) -> str:
    """One line at `now`, in seconds since 1970."""
    names = [name for name in UNITS if name in values]
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [["Stack", "Queue"]],
        "Metrics": [{"Name": name, "Unit": UNITS[name]} for name in names],
    }
    meta = {"Timestamp": round(now * 1000), "CloudWatchMetrics": [directive]}
    known = {name: values[name] for name in names}
    return json.dumps({"_aws": meta, "Stack": stack, "Queue": queue, **known}, separators=(",", ":"))
