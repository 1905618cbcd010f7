"""The transactional outbox: a job is a row in the transaction that needs it, and its id is enqueued after the commit.

    async with connection.begin():
        await connection.execute(insert(Delivery)...)
        await connection.execute(new_job(job_id=job_id, kind="delivery", subject_id=delivery_id, ...))
    announcer.announce(job_id, queue)

A crash between the two, or Redis being away, leaves a pending row that the sweeper of any worker finds. `enqueued_at`
is set by whoever next touches the row with a database connection at hand: the claim, or the sweeper.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Self

from sqlalchemy import Insert, insert

from app.observability.logging import get_logger
from app.queue.models import Job
from app.settings import Settings

if TYPE_CHECKING:
    from app.queue.wakeups import Wakeups

log = get_logger()

_BATCH = 200
_BACKLOG = 20_000
"""Ids held while Redis is slow; beyond it they are left to the sweeper instead of to this process's memory."""
_PAUSE_AFTER_FAILURE = 1.0

_Announced = tuple[tuple[str, bool], uuid.UUID]
"""A queue's name and whether the job is urgent, and its id."""


def new_job(
    *,
    job_id: uuid.UUID,
    kind: str,
    queue: str,
    subject_id: uuid.UUID,
    max_attempts: int,
    correlation_id: str | None,
    run_at: datetime | None = None,
    traceparent: str | None = None,
) -> Insert:
    """The statement that adds a pending job; for a sync or an async connection. `run_at` None means at once."""
    return insert(Job).values(
        id=job_id,
        kind=kind,
        queue=queue,
        subject_id=subject_id,
        max_attempts=max_attempts,
        correlation_id=correlation_id,
        traceparent=traceparent,
        **({} if run_at is None else {"run_at": run_at}),
    )


class Announcer:
    """Enqueues committed jobs, from a thread of its own: the caller neither waits nor fails.

    `sent` and `failed` count ids since the start; a failed one is late by the sweeper's interval, not lost.
    """

    def __init__(self, redis_url: str, *, job_timeout: float) -> None:
        """`job_timeout` in seconds. Connects on first use."""
        self.sent = 0
        self.failed = 0
        self._redis_url, self._job_timeout = redis_url, job_timeout
        # Not a Queue with a limit: its locks are Python, and took a twentieth of a request's time.
        self._jobs: queue.SimpleQueue[_Announced | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.redis_url.get_secret_value(), job_timeout=settings.queue_job_timeout / 1000)

    def announce(self, job_id: uuid.UUID, queue_name: str, *, urgent: bool = False) -> None:
        """Push the id within milliseconds, if Redis is there. To be called after the commit."""
        self._start()
        if self._jobs.qsize() < _BACKLOG:
            self._jobs.put(((queue_name, urgent), job_id))
        else:
            self.failed += 1

    def close(self, timeout: float = 2.0) -> None:
        """Push what is still held, for at most `timeout` seconds."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is None:
            return
        self._jobs.put(None)
        thread.join(timeout)

    def _start(self) -> None:
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="announcer", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        # Imported here: the API is to answer its first request before it has loaded RQ.
        from app.queue.connections import quick_client
        from app.queue.wakeups import Wakeups

        client = quick_client(self._redis_url, name="nudge")
        queues: dict[str, Wakeups] = {}
        while True:
            batch, last = self._next_batch()
            pushed = True
            for (name, urgent), job_ids in _by_queue(batch).items():
                if name not in queues:
                    queues[name] = Wakeups(client, name=name, job_timeout=self._job_timeout)
                pushed = self._push(queues[name], job_ids, urgent=urgent) and pushed
            if not pushed and not last:
                # With Redis away every push costs its timeouts; the ids that gather meanwhile go out together.
                time.sleep(_PAUSE_AFTER_FAILURE)
            if last:
                client.close()
                return

    def _next_batch(self) -> tuple[list[_Announced], bool]:
        """Wait for a job, then take what else is there; whether the end was reached."""
        batch: list[_Announced] = []
        item = self._jobs.get()
        while item is not None:
            batch.append(item)
            if len(batch) == _BATCH:
                return batch, False
            try:
                item = self._jobs.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _push(self, wakeups: Wakeups, batch: list[uuid.UUID], *, urgent: bool) -> bool:
        from redis import RedisError

        try:
            wakeups.enqueue(batch, urgent=urgent)
        except (RedisError, OSError) as error:
            self.failed += len(batch)
            log.warning("jobs not announced, the sweeper will", jobs=len(batch), reason=type(error).__name__)
            return False
        self.sent += len(batch)
        return True


def _by_queue(batch: list[_Announced]) -> dict[tuple[str, bool], list[uuid.UUID]]:
    queues: dict[tuple[str, bool], list[uuid.UUID]] = {}
    for where, job_id in batch:
        queues.setdefault(where, []).append(job_id)
    return queues
