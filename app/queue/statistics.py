"""How long the queues are and who works on them, read for `/metrics` and for the lines for CloudWatch.

Postgres has the jobs, Redis the workers. Each reader raises when its service does not answer, so that no old number and
no zero is taken for the truth.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisError
from sqlalchemy import Select, func, literal, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.queue.models import Job

if TYPE_CHECKING:
    from redis.asyncio import Redis

UNREADABLE: Final = (SQLAlchemyError, RedisError, OSError, TimeoutError)
"""What the readers raise."""

FAILED_WITHIN: Final = timedelta(minutes=5)
"""The time that `failed` counts: not all jobs that ever failed, which would take ever longer to count."""

# RQ's keys. A worker that was killed stays in the set of its queue; its own key ends with its heartbeat.
_QUEUE: Final = "rq:queue:{}"
_INTERMEDIATE: Final = "rq:queue:{}:intermediate"
_STARTED: Final = "rq:wip:{}"
_SCHEDULED: Final = "rq:scheduled:{}"
_FINISHED: Final = "rq:finished:{}"
_FAILED: Final = "rq:failed:{}"
_WORKERS: Final = "rq:workers:{}"


@dataclass(frozen=True, kw_only=True)
class JobStatistics:
    """The jobs of one queue in Postgres; ages in seconds, 0 when there is none to have an age."""

    due: int = 0
    oldest_due: float = 0.0
    later: int = 0
    """Pending, and not due yet."""
    running: int = 0
    unsent: int = 0
    """Due, and not known to be on the queue: the outbox."""
    oldest_unsent: float = 0.0
    failed: int = 0
    """For good, within `FAILED_WITHIN`."""


@dataclass(frozen=True, kw_only=True)
class BrokerStatistics:
    """One queue in Redis: how long its lists are, and who works on it."""

    queued: int
    registries: Mapping[str, int]
    """Entries by RQ's name of the registry."""
    overdue: float
    """Seconds since the first entry of the scheduled registry should have been woken; 0 when none is late."""
    workers: int
    heartbeat_age: float | None
    """Seconds since the last sign of life of any worker; None without a worker."""


async def read_jobs(engine: AsyncEngine, queues: Sequence[str]) -> dict[str, JobStatistics]:
    """Of each queue. One without a row is empty, which is worth saying: workers are removed by zeros."""
    async with engine.connect() as connection:
        open_jobs = (await connection.execute(_open_jobs())).all()
        failed = {row.queue: row.failed for row in (await connection.execute(_failed_jobs())).all()}
    rows = {row.queue: row for row in open_jobs}
    return {queue: _job_statistics(rows.get(queue), failed.get(queue, 0)) for queue in queues}


def _job_statistics(row: Any, failed: int) -> JobStatistics:
    if row is None:
        return JobStatistics(failed=failed)
    return JobStatistics(
        due=row.due,
        oldest_due=round(float(row.oldest_due), 3),
        later=row.later,
        running=row.running,
        unsent=row.unsent,
        oldest_unsent=round(float(row.oldest_unsent), 3),
        failed=failed,
    )


async def read_broker(redis: Redis, queues: Sequence[str]) -> dict[str, BrokerStatistics]:
    """By LLEN and ZCARD, not through RQ's registries: reading those cleans them up, in the process that reads."""
    return {queue: await _broker_statistics(redis, queue) for queue in queues}


async def _broker_statistics(redis: Redis, queue: str) -> BrokerStatistics:
    registries = {"started": _STARTED, "scheduled": _SCHEDULED, "finished": _FINISHED, "failed": _FAILED}
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.llen(_QUEUE.format(queue))
        pipeline.llen(_INTERMEDIATE.format(queue))
        for key in registries.values():
            pipeline.zcard(key.format(queue))
        pipeline.zrange(_SCHEDULED.format(queue), 0, 0, withscores=True)
        pipeline.smembers(_WORKERS.format(queue))
        queued, intermediate, *sizes, first, names = await pipeline.execute()
    workers, heartbeat_age = await _workers(redis, names)
    return BrokerStatistics(
        queued=queued,
        registries={"intermediate": intermediate, **dict(zip(registries, sizes, strict=True))},
        overdue=max(0.0, time.time() - float(first[0][1])) if first else 0.0,
        workers=workers,
        heartbeat_age=heartbeat_age,
    )


async def _workers(redis: Redis, names: set[bytes]) -> tuple[int, float | None]:
    if not names:
        return 0, None
    async with redis.pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.exists(name)
            pipeline.hget(name, "last_heartbeat")
        answers = await pipeline.execute()
    beats = [datetime.fromisoformat(beat.decode()) for beat in answers[1::2] if beat]
    age = (datetime.now(UTC) - max(beats)).total_seconds() if beats else None
    return sum(answers[::2]), None if age is None else max(0.0, age)


def _open_jobs() -> Select[Any]:
    """Reads the partial index of open jobs only, so its cost follows the backlog and not the history."""
    pending = Job.state == "pending"
    due = pending & (Job.run_at <= func.now())
    unsent = due & Job.enqueued_at.is_(None)
    return (
        select(
            Job.queue,
            func.count().filter(due).label("due"),
            _age(due).label("oldest_due"),
            func.count().filter(pending & (Job.run_at > func.now())).label("later"),
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
