"""Everything that the queue asks of Redis: RQ's keys, written for many jobs in one round trip.

Redis only wakes workers. What a job is and whether it was done stands in Postgres, so an id that is enqueued twice,
lost or dequeued late costs time and never a job: the claim (app.queue.records) decides who may act.

RQ itself needs about twenty commands in five round trips around each job. Here a script writes the same keys in one
(app.queue.scripts). Being scripts they are atomic, so there is no moment in which a job is on no list (rq/rq#2236).
`rq info`, `rq requeue` and RQ's maintenance find what they expect.
"""

from __future__ import annotations

import json
import time
import uuid
import zlib
from collections.abc import Container, Iterable, Sequence
from typing import Any, Final, cast

from redis import Redis
from rq import Queue
from rq import Retry as JobRetry
from rq.defaults import DEFAULT_FAILURE_TTL, DEFAULT_RESULT_TTL, RQ_KEY_PREFIX
from rq.executions import WORKER_EXECUTIONS_KEY_TEMPLATE
from rq.job import JobStatus
from rq.results import Result
from rq.utils import now, utcformat

from app.queue import scripts
from app.queue.job import NOT_OURS, Acknowledgement, Job

FUNCTION: Final = "app.jobs.execute.execute"
"""What a job of ours runs, by name: whoever enqueues imports none of the worker's code. It stands in Redis, where
workers of other versions read it, and so does not follow the modules as they move."""

RESULT_TTL = 24 * 3600
"""Seconds that Redis keeps a finished job, unless keep-last-N (`trim`) removes it earlier."""
FAILURE_TTL = 7 * 24 * 3600
"""The same for a failed job; RQ's own default is a year."""

HEARTBEAT_INTERVAL: Final = 5
"""Seconds between two signs of life that a worker gives of each of its jobs."""
ABANDONED_AFTER: Final = HEARTBEAT_INTERVAL + 60
"""Seconds after the last one until RQ itself takes a job for abandoned."""

_REQUEUES: Final = 1000
"""How often RQ may put a job back that its worker could not start or finish. Attempts are counted in Postgres."""
_LATE: Final = 2.0
_BATCH: Final = 500
_PROMOTED: Final = 100
_OF_EACH_JOB: Final = frozenset({"data", "description"})
_ENDED: Final = ("finished", "failed", "stopped", "canceled")
_POLL: Final = 0.5
"""Seconds after which scheduled jobs are looked at, unless one is known to be due earlier."""


class Wakeups:
    """One RQ queue, with every setting that RQ would otherwise default to something unsafe; seen by `worker`, where
    jobs are dequeued and acknowledged. All methods raise redis.RedisError with nothing written."""

    def __init__(self, client: Redis, *, name: str, job_timeout: float, worker: str = "") -> None:
        """`job_timeout` in seconds. Talks to nobody yet."""
        self.client, self.name, self._worker = client, name, worker
        self._job_timeout = max(1, round(job_timeout))
        # JSON: with RQ's default, pickle, write access to Redis is code execution in every worker.
        self.rq = rq = Queue(name, connection=client, serializer="json", default_timeout=self._job_timeout)
        self._shared: dict[str, Any] | None = None
        self._enqueue, self._dequeue = client.register_script(scripts.ENQUEUE), client.register_script(scripts.DEQUEUE)
        self._acknowledge = client.register_script(scripts.ACKNOWLEDGE)
        self._promote, self._trim = client.register_script(scripts.PROMOTE), client.register_script(scripts.TRIM)
        self._scheduled, self._started = rq.scheduled_job_registry.key, rq.started_job_registry.key
        self._finished, self._failed = rq.finished_job_registry.key, rq.failed_job_registry.key
        self._executions = WORKER_EXECUTIONS_KEY_TEMPLATE.format(worker)
        self._next_promotion = 0.0

    # -- onto the queue

    def enqueue(self, job_ids: Iterable[uuid.UUID], *, urgent: bool = False) -> int:
        """Put the jobs on the queue; how many. Raises redis.RedisError with none or, of many, the first ones enqueued.

        Urgent ones go before all that wait, the newest first, and do so again when they are retried.

        RQ's own enqueue costs a third of a millisecond of the caller's time for each. Nor is it RQ's `unique`: that
        refuses an id for as long as Redis keeps the finished job, and would hold back a retry.
        """
        names = [str(job_id) for job_id in job_ids]
        for first in range(0, len(names), _BATCH):
            self._enqueue_batch(names[first : first + _BATCH], urgent=urgent)
        return len(names)

    def _enqueue_batch(self, names: list[str], *, urgent: bool) -> None:
        shared = self._shared_fields()
        args: list[Any] = [RQ_KEY_PREFIX, int(urgent), len(shared), *shared]
        for name in names:
            args += [name, zlib.compress(json.dumps([FUNCTION, None, [name], {}]).encode()), f"job {name}"]
        self._enqueue(keys=[self.rq.key, self._scheduled, Queue.redis_queues_keys], args=args)

    def _shared_fields(self) -> list[Any]:
        """Names and values that RQ would store for any of our jobs."""
        if self._shared is None:
            job = self.rq.create_job(
                FUNCTION,
                args=("",),
                timeout=self._job_timeout,
                result_ttl=RESULT_TTL,
                failure_ttl=FAILURE_TTL,
                # Without it RQ fails an abandoned job instead of putting it back.
                retry=JobRetry(max=_REQUEUES, enqueue_at_front=True),
            )
            job.origin, job._status = self.name, JobStatus.QUEUED
            self._shared = {name: value for name, value in job.to_dict().items() if name not in _OF_EACH_JOB}
        at = utcformat(now())
        return [part for pair in {**self._shared, "created_at": at, "enqueued_at": at}.items() for part in pair]

    def promote(self) -> float:
        """Put scheduled jobs that are due on the queue; seconds until this should be called again.

        Not by RQ's scheduler: it is a child process per worker (a second interpreter in memory, whose death is noticed
        only at maintenance), and it works in whole seconds rounded down, so a job would come back before it is due. Not
        by timers in the worker that failed the attempt either: they are gone with it. In RQ's registry the wait is
        shared by all workers, outlives them, and shows in RQ's tools. If Redis forgets it, the sweeper finds the row.
        """
        at = time.time()
        if at >= self._next_promotion:
            following = self._promote(keys=[self._scheduled, self.rq.key], args=[at, _PROMOTED, RQ_KEY_PREFIX])
            due = at + _POLL if following is None else float(cast("bytes", following))
            self._next_promotion = min(due, at + _POLL)
        return max(0.0, min(self._next_promotion - time.time(), _POLL))

    def expect(self, due: float) -> None:
        """A job was scheduled for `due`, in seconds since 1970; called from any thread."""
        self._next_promotion = min(self._next_promotion, due)

    # -- from the queue

    def dequeue(self, most: int) -> list[Job]:
        """Take up to `most` jobs from the queue, and register them as started by this worker."""
        at, moment = time.time(), utcformat(now())
        ids = [uuid.uuid4().hex for _ in range(most)]
        found = self._dequeue(
            keys=[self.rq.key, self._started, self._executions],
            args=[moment, at, self._worker, ABANDONED_AFTER, RQ_KEY_PREFIX, *ids],
        )
        return [self._job(*entry, at) for entry in cast("list[tuple[bytes, bytes, list[bytes]]]", found)]

    def _job(self, rq_id: bytes, execution: bytes, flat: list[bytes], at: float) -> Job:
        """Only what is needed of the hash is read: making RQ's object costs more than all the rest."""
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        job = Job(rq_id=rq_id.decode(), execution=execution.decode(), fields=fields, dequeued_at=at)
        try:
            function, _, args, named = self.rq.serializer.loads(zlib.decompress(fields[b"data"]))
            args, _ = list(args), dict(named)
            job.id = _id_of(args) if function == FUNCTION else NOT_OURS
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not hold up other jobs
            job.unreadable = f"the job's data cannot be read: {type(error).__name__}"
        return job

    def dequeued_beside(self, executions: Container[str]) -> list[Job]:
        """Jobs that Redis has as started by this worker and whose executions are not among these; without their
        data."""
        entries = cast("set[bytes]", self.client.smembers(self._executions))
        parts = (entry.decode().partition(":") for entry in entries)
        return [
            Job(rq_id=rq_id, execution=execution, dequeued_at=time.time())
            for rq_id, _, execution in parts
            if execution not in executions
        ]

    def acknowledge(self, jobs: Sequence[Job]) -> list[str]:
        """Register how the jobs ended; the ids of those that other jobs depend on. Nothing happens to a job that its
        execution has no longer, so that an end may be acknowledged twice."""
        return self._acknowledge_as([(job, job.acknowledgement) for job in jobs])

    def release(self, jobs: Sequence[Job]) -> None:
        """Put the jobs back at the front of the queue, as if they had not been dequeued. What another thread is about
        to acknowledge is left as it is: of two ends the first counts."""
        if jobs:
            self._acknowledge_as([(job, "queued") for job in jobs])

    def _acknowledge_as(self, ends: Sequence[tuple[Job, Acknowledgement]]) -> list[str]:
        at = time.time()
        args: list[Any] = [utcformat(now()), at, self._worker, RQ_KEY_PREFIX]
        for job, end in ends:
            if end in ("finished", "dropped"):
                kept = job.seconds(b"result_ttl", DEFAULT_RESULT_TTL)
            else:
                kept = job.seconds(b"failure_ttl", DEFAULT_FAILURE_TTL)
            due, stored = at + (job.wait or 0.0), self._stored(job) if end in ("finished", "failed") else ""
            args += [job.rq_id, job.execution, end, kept, due, stored, job.dequeued_at, job.ended_at or at]
        keys = [self.rq.key, self._started, self._finished, self._failed, self._scheduled, self._executions]
        keys.append(f"{RQ_KEY_PREFIX}:worker:{self._worker}")
        return [cast("bytes", rq_id).decode() for rq_id in self._acknowledge(keys=keys, args=args)]

    def _stored(self, job: Job) -> str:
        """Result or error in the form in which RQ reads it back."""
        if job.value is None and not job.error:
            return ""
        result = Result(
            job_id=job.rq_id,
            type=Result.Type.FAILED if job.error else Result.Type.SUCCESSFUL,
            connection=self.client,
            return_value=job.value,
            exc_string=job.error or None,
            serializer=self.rq.serializer,
        ).serialize()
        return str(result.get("exc_string") or result.get("return_value") or "")

    def wait(self, timeout: float) -> bool:
        """Whether there is a job on the queue, within `timeout` seconds. Takes none: it is moved from the front of the
        queue to the front of the queue."""
        return self.client.blmove(self.rq.key, self.rq.key, cast("int", timeout), "LEFT", "LEFT") is not None

    # -- what is there

    def count(self) -> int:
        """How many entries are on the queue, popped or being executed by a worker that is alive; an id that was pushed
        twice counts twice."""
        with self.client.pipeline(transaction=True) as pipeline:
            pipeline.llen(self.rq.key)
            pipeline.llen(self.rq.intermediate_queue_key)
            pipeline.zcount(self.rq.started_job_registry.key, _oldest_alive(), "+inf")
            return sum(cast("list[int]", pipeline.execute()))

    def waiting_ids(self) -> set[str]:
        """Ids on the queue, and those popped of which no worker has begun yet.

        In this order: what moves from the first list to the second in between is seen in the first.
        """
        waiting = cast("list[bytes]", self.client.lrange(self.rq.key, 0, -1))
        popped = cast("list[bytes]", self.client.lrange(self.rq.intermediate_queue_key, 0, -1))
        return {name.decode() for name in (*waiting, *popped)}

    def running_ids(self) -> set[str]:
        """Ids of the jobs that a worker's heartbeat says it is executing; without those of a worker that missed one.

        From the sorted set and not through RQ's registry, whose readers clean up as they read.
        """
        entries = cast(
            "list[bytes]",
            self.client.zrange(
                self.rq.started_job_registry.key,
                cast("int", _oldest_alive()),
                cast("int", "+inf"),
                byscore=True,
            ),
        )
        return {entry.decode().partition(":")[0] for entry in entries}

    def trim(self, *, keep_finished: int, keep_failed: int) -> int:
        """Remove the oldest finished and failed jobs beyond what is to be kept, their data with them; how many. RQ
        cannot: it has times to live, and no number to keep."""
        removed = 0
        for key, keep in ((self._finished, keep_finished), (self._failed, keep_failed)):
            while True:
                count = int(self._trim(keys=[key], args=[keep, _BATCH, RQ_KEY_PREFIX, *_ENDED]))
                removed += count
                if count < _BATCH:
                    break
        return removed


def _id_of(args: list[Any]) -> uuid.UUID:
    """The row that a job of ours is about; none when its arguments are not ours."""
    try:
        return uuid.UUID(args[0])
    except (ValueError, IndexError, AttributeError, TypeError):
        return NOT_OURS


def _oldest_alive() -> float:
    """The lowest score in a started registry of a job whose worker has given its last sign of life in time."""
    return time.time() + ABANDONED_AFTER - HEARTBEAT_INTERVAL - _LATE
