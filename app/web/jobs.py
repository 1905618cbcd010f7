"""Jobs that a request asks for: committed together with what it stores, put on the queue once that is committed."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.transactions import transaction
from app.observability import correlation, traces
from app.queue.outbox import new_job
from app.settings import Settings
from app.web.state import State


class Jobs:
    """Those of one transaction."""

    def __init__(self, connection: AsyncConnection, settings: Settings) -> None:
        self._connection, self._settings = connection, settings
        self.due: list[tuple[uuid.UUID, str, bool]] = []
        """Id, queue, and whether it goes before others."""

    async def enqueue(self, kind: str, subject_id: uuid.UUID, *, max_attempts: int, urgent: bool | None = None) -> None:
        """`urgent`: as the settings have it for the kind, unless given."""
        job_id, queue = uuid.uuid4(), self._settings.queue_of(kind)
        await self._connection.execute(
            new_job(
                job_id=job_id,
                kind=kind,
                queue=queue,
                subject_id=subject_id,
                max_attempts=max_attempts,
                correlation_id=correlation.current(),
                traceparent=traces.current(),
            )
        )
        self.due.append((job_id, queue, self._settings.is_urgent(kind) if urgent is None else urgent))


@asynccontextmanager
async def transaction_with_jobs(state: State) -> AsyncGenerator[tuple[AsyncConnection, Jobs]]:
    """The request does not wait for Redis; a job that could not be put on the queue is found by the sweeper."""
    async with transaction(state["engine"]) as connection:
        jobs = Jobs(connection, state["settings"])
        yield connection, jobs
    for job_id, queue, urgent in jobs.due:
        state["announcer"].announce(job_id, queue, urgent=urgent)
