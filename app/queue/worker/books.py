"""RQ's books in Redis, kept for many jobs in one round trip.

RQ itself needs about twenty commands in five round trips around each job. Here two scripts write the same keys: `take`
pops jobs and registers them as started, `tell` registers what came of them. Being scripts they are atomic, so there is
no moment in which a job is on no list (rq/rq#2236). `rq info`, `rq requeue` and RQ's maintenance find what they expect.
"""

from __future__ import annotations

import time
import uuid
import zlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, cast

from redis import Redis
from rq import Queue
from rq.defaults import DEFAULT_FAILURE_TTL, DEFAULT_RESULT_TTL, RQ_KEY_PREFIX
from rq.executions import WORKER_EXECUTIONS_KEY_TEMPLATE
from rq.job import Job
from rq.results import Result
from rq.utils import now, utcformat

from app.queue.worker.scripts import TAKE, TELL

_JUST_WRITTEN = frozenset({b"started_at", b"last_heartbeat"})

Fate = Literal["finished", "failed", "scheduled", "queued", "dropped"]

Call = tuple[str, Any, list[Any], dict[str, Any]]
"""Function, instance, arguments and named arguments."""

# What RQ does for a job beyond storing its result; none of it is in the scripts above.
_MORE = (
    b"success_callback_name",
    b"failure_callback_name",
    b"stopped_callback_name",
    b"webhooks",
    b"repeats_left",
    b"rate_limit_key",
)


@dataclass(kw_only=True)
class Popped:
    """A job that this worker has taken, and the execution under which RQ knows that.

    `fields` is its hash. Only what is needed of it is read: making RQ's object costs more than all the rest.
    """

    job_id: str
    execution_id: str
    at: float
    """Seconds since 1970."""
    queue: Queue
    fields: Mapping[bytes, bytes] = field(default_factory=dict)
    # Not functools.cached_property: until Python 3.12 that has one lock for all jobs of all threads.
    _call: Call | None = None
    _job: Job | None = None

    @property
    def unreadable(self) -> str:
        """Why the job's data cannot be read, if so: anybody may write to a queue."""
        try:
            _ = self.call
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not hold up other jobs
            return f"the job's data cannot be read: {type(error).__name__}"
        return ""

    @property
    def call(self) -> Call:
        if self._call is None:
            name, instance, args, kwargs = self.queue.serializer.loads(zlib.decompress(self.fields[b"data"]))
            self._call = str(name), instance, list(args), dict(kwargs)
        return self._call

    @property
    def is_plain(self) -> bool:
        """Whether nothing but its result is to be stored when it returns."""
        return not any(self.fields.get(name, b"") not in (b"", b"0") for name in _MORE)

    @property
    def job(self) -> Job:
        """As RQ sees it."""
        if self._job is None:
            self._job = job = Job(self.job_id, connection=self.queue.connection, serializer=self.queue.serializer)
            if self.fields:
                # The two times that `take` has just written need not be read back.
                job.restore({name: value for name, value in self.fields.items() if name not in _JUST_WRITTEN})
                job.started_at = job.last_heartbeat = datetime.fromtimestamp(self.at, UTC)
        return self._job

    def seconds(self, name: bytes, default: int) -> int:
        """A time of the job: its limit, or how long it is to be kept. The default for what is no number: anybody may
        write to a queue."""
        try:
            return int(float(self.fields.get(name) or default))
        except (ValueError, OverflowError):
            return default


@dataclass(frozen=True, kw_only=True)
class Told:
    """What came of a job.

    finished: with `value`; failed: for good, with `error`; scheduled: to run again in `seconds`; queued: back at the
    front of the queue, as if it had not been taken; dropped: there was nothing to do for it here.
    """

    popped: Popped
    fate: Fate
    value: Any = None
    error: str = ""
    seconds: float = 0.0
    ended_at: float = 0.0
    """Seconds since 1970."""


class Books:
    """Of one queue, for one worker. All methods talk to Redis and raise redis.RedisError with nothing written."""

    def __init__(self, client: Redis, queue: Queue, *, worker: str, worker_key: str, abandoned_after: int) -> None:
        """`abandoned_after` in seconds: longer than the time between two heartbeats of a job."""
        self._client = client
        self._queue = queue
        self._worker = worker
        self._abandoned_after = abandoned_after
        self._take = client.register_script(TAKE)
        self._tell = client.register_script(TELL)
        self._executions = executions = WORKER_EXECUTIONS_KEY_TEMPLATE.format(worker)
        started = queue.started_job_registry.key
        self._take_keys = [queue.key, started, executions]
        self._tell_keys = [
            queue.key,
            started,
            queue.finished_job_registry.key,
            queue.failed_job_registry.key,
            queue.scheduled_job_registry.key,
            executions,
            worker_key,
        ]

    def take(self, most: int) -> list[Popped]:
        """Pop up to `most` jobs and register them as started by this worker."""
        at, moment = time.time(), utcformat(now())
        ids = [uuid.uuid4().hex for _ in range(most)]
        taken = cast(
            "list[tuple[bytes, bytes, list[bytes]]]",
            self._take(
                keys=self._take_keys, args=[moment, at, self._worker, self._abandoned_after, RQ_KEY_PREFIX, *ids]
            ),
        )
        return [
            Popped(
                job_id=job_id.decode(),
                execution_id=execution_id.decode(),
                at=at,
                fields=dict(zip(fields[::2], fields[1::2], strict=True)),
                queue=self._queue,
            )
            for job_id, execution_id, fields in taken
        ]

    def taken_beside(self, execution_ids: Container[str]) -> list[Popped]:
        """Executions that Redis has for this worker and that are not among these; without their jobs' data."""
        entries = cast("set[bytes]", self._client.smembers(self._executions))
        parts = (entry.decode().partition(":") for entry in entries)
        return [
            Popped(job_id=job_id, execution_id=execution_id, at=time.time(), queue=self._queue)
            for job_id, _, execution_id in parts
            if execution_id not in execution_ids
        ]

    def tell(self, ends: Sequence[Told]) -> list[str]:
        """Register what came of the jobs; the ids of those that other jobs depend on. Nothing happens to a job that its
        execution has no longer taken, so that an end may be told twice."""
        at = time.time()
        args: list[Any] = [utcformat(now()), at, self._worker, RQ_KEY_PREFIX]
        for end in ends:
            if end.fate in ("finished", "dropped"):
                kept = end.popped.seconds(b"result_ttl", DEFAULT_RESULT_TTL)
            else:
                kept = end.popped.seconds(b"failure_ttl", DEFAULT_FAILURE_TTL)
            args += [
                end.popped.job_id,
                end.popped.execution_id,
                end.fate,
                kept,
                at + end.seconds,
                self._stored(end),
                end.popped.at,
                end.ended_at or at,
            ]
        return [cast("bytes", job_id).decode() for job_id in self._tell(keys=self._tell_keys, args=args)]

    def _stored(self, end: Told) -> str:
        """Result or error in the form in which RQ reads it back."""
        if end.value is None and not end.error:
            return ""
        result = Result(
            job_id=end.popped.job_id,
            type=Result.Type.FAILED if end.error else Result.Type.SUCCESSFUL,
            connection=self._client,
            return_value=end.value,
            exc_string=end.error or None,
            serializer=self._queue.serializer,
        ).serialize()
        return str(result.get("exc_string") or result.get("return_value") or "")
