"""Can this replica serve? Postgres decides; Redis only wakes workers, and the outbox goes on without it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.db import errors
from app.deadline import Deadline
from app.migrations import revisions

if TYPE_CHECKING:
    from redis.asyncio import Redis

Availability = Literal["available", "unavailable"]

CACHE_SECONDS = 1.0
"""Many probes (each load balancer node, the supervisor) cost one look a second."""
BUDGET_SECONDS = 1.0


class Services(BaseModel):
    database: Availability
    redis: Availability


class HealthReport(BaseModel):
    """`healthy` and `degraded` come with 200, `unhealthy` with 503."""

    status: Literal["healthy", "degraded", "unhealthy"]
    timestamp: datetime
    uptime: float = Field(description="Seconds since the start of this process.")
    version: str
    services: Services
    problems: list[str] = Field(default=[], description="What is wrong, in words.")


@dataclass(frozen=True)
class _Seen:
    at: float
    database_problem: str | None
    redis_problem: str | None


class Health:
    def __init__(
        self, *, engine: AsyncEngine, redis: Redis, version: str, is_draining: Callable[[], bool], started: float
    ) -> None:
        """`started` by time.monotonic()."""
        self._engine, self._redis, self._version = engine, redis, version
        self._is_draining, self._started = is_draining, started
        self._seen: _Seen | None = None
        self._looking = asyncio.Lock()

    async def report(self) -> HealthReport:
        seen = await self._look()
        draining = self._is_draining()
        problems = [p for p in (seen.database_problem, seen.redis_problem) if p]
        return HealthReport(
            status="unhealthy" if seen.database_problem or draining else "degraded" if problems else "healthy",
            timestamp=datetime.now(UTC),
            uptime=round(time.monotonic() - self._started, 3),
            version=self._version,
            services=Services(
                database="unavailable" if seen.database_problem else "available",
                redis="unavailable" if seen.redis_problem else "available",
            ),
            problems=[*problems, *(["shutting down"] if draining else [])],
        )

    async def _look(self) -> _Seen:
        async with self._looking:
            if self._seen is None or time.monotonic() - self._seen.at >= CACHE_SECONDS:
                database, redis = await asyncio.gather(self._database_problem(), self._redis_problem())
                self._seen = _Seen(time.monotonic(), database, redis)
            return self._seen

    async def _database_problem(self) -> str | None:
        try:
            async with Deadline(BUDGET_SECONDS), self._engine.connect() as connection:
                revision = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar()
                await connection.execute(text(errors.WRITE_PROBE))
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            return _database_trouble(error)
        if revision is None:
            return "database: it has no tables, run MODE=migrate"
        if revision in revisions.KNOWN[:-1]:
            return f"database: the schema is at {revision}, this version needs {revisions.HEAD}: run MODE=migrate"
        # One that we do not know is newer: schemas expand before they contract, so this version runs on it.
        return None

    async def _redis_problem(self) -> str | None:
        try:
            async with asyncio.timeout(BUDGET_SECONDS):
                await self._redis.ping()
        except (RedisError, OSError, TimeoutError):
            return "redis: no answer, jobs start late"
        return None


def _database_trouble(error: Exception) -> str:
    if errors.kind(error) is errors.Kind.READ_ONLY:
        return "database: it takes no writes: it is a standby, or was demoted"
    match errors.sqlstate(error):
        case "42P01":
            return "database: it has no tables, run MODE=migrate"
        case "42501":
            return "database: this role may not read and write the tables"
        case _:
            return "database: no answer"
