"""The RQ queue: how jobs are put on it, and how this process talks to its Redis.

Redis only wakes workers. What a job is and whether it was done stands in Postgres, so an id that is pushed twice, lost
or popped late costs time and never a job: the claim (app.queue.claims) decides who may act.
"""

from __future__ import annotations

import json
import time
import uuid
import zlib
from collections.abc import Iterable
from typing import Any, Final, cast

from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, ReadOnlyError
from redis.retry import Retry
from rq import Queue
from rq import Retry as JobRetry
from rq.defaults import RQ_KEY_PREFIX
from rq.job import JobStatus
from rq.utils import now, utcformat

from app.observability.logging import get_logger

log = get_logger()

FUNCTION = "app.queue.execute.execute"
"""What a job runs, by name: whoever enqueues imports none of the worker's code."""

RESULT_TTL = 24 * 3600
"""Seconds that Redis keeps a finished job, unless keep-last-N (app.queue.trim) removes it earlier."""
FAILURE_TTL = 7 * 24 * 3600
"""The same for a failed job; RQ's own default is a year."""

MINIMUM_SERVER = (6, 2)
"""LMOVE came with Redis 6.2. Without it RQ pops with BLPOP, and a worker that dies then takes the job with it."""

_REQUEUES = 1000
"""How often RQ may put a job back that its worker could not start or finish. Attempts are counted in Postgres."""

HEARTBEAT_INTERVAL: Final = 5
"""Seconds between two signs of life that a worker gives of each of its jobs."""
ABANDONED_AFTER: Final = HEARTBEAT_INTERVAL + 60
"""Seconds after the last one until RQ itself takes a job for abandoned."""
_LATE: Final = 2.0
_BATCH: Final = 500
_OF_EACH_JOB: Final = frozenset({"data", "description"})


class UnsuitableServerError(RuntimeError):
    """The Redis server cannot carry the queue; the message says why and what to do."""


def quick_client(url: str, *, name: str) -> Redis:
    """For a loop that goes on by itself when Redis is away: fails within seconds."""
    return _client(url, name=name, retries=1)


def patient_client(url: str, *, name: str) -> Redis:
    """For the book-keeping around a running job: outlasts a Redis restart or failover of about two minutes."""
    return _client(url, name=name, retries=40)


def _client(url: str, *, name: str, retries: int) -> Redis:
    # Keepalive is redis-py's default (30 s, then 3 x 5 s); a Unix socket knows neither it nor a slow connect.
    network = {} if url.startswith("unix:") else {"socket_connect_timeout": 3}
    return Redis.from_url(
        url,
        **network,
        client_name=name,
        socket_timeout=5,
        health_check_interval=30,
        retry=Retry(ExponentialWithJitterBackoff(base=0.2, cap=3), retries=retries),
        # A primary that was demoted answers READONLY until its name points elsewhere. It is no connection error to
        # redis-py; as one, the connection is closed and made again, and the name read anew.
        retry_on_error=[ReadOnlyError],
    )


def check_server(client: Redis) -> None:
    """Raise UnsuitableServerError for a server that would lose jobs or cannot run RQ."""
    try:
        info = cast("dict[str, object]", client.info())
    except (AuthenticationError, NoPermissionError) as error:
        raise UnsuitableServerError(f"Redis refuses the user or password of REDIS_URL: {error}") from None
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < MINIMUM_SERVER:
        raise UnsuitableServerError(f"Redis {version} is too old: use Redis 6.2 or later, or Valkey")
    if info.get("cluster_enabled") in (1, "1"):
        raise UnsuitableServerError(
            "Redis runs in cluster mode, where RQ's multi-key commands fail: use a server with cluster mode disabled"
        )
    if (policy := info.get("maxmemory_policy", "noeviction")) != "noeviction":
        # Nothing is lost by it, but every evicted job waits for the sweeper.
        log.warning("Redis may evict jobs, set its maxmemory-policy to noeviction", maxmemory_policy=policy)


# KEYS[1] the queue's list; KEYS[2] its scheduled registry: sorted set of job ids; KEYS[3] RQ's set of queues
# ARGV[1] RQ's prefix; ARGV[2] 1 for the front of the queue; ARGV[3] how many fields and values follow that are the same
#   for every job; then those; then for each job its id, its data and its description
# A job that is put on the queue again begins anew: what is left of its last run would make it expire while it waits.
# RQ's key names are built here: no cluster mode, which RQ cannot use either.
_PUSH = """
-- First what a full server refuses: once a script has written, the server lets it write whatever it takes.
redis.call('SADD', KEYS[3], KEYS[1])
local same, shared = 3 + tonumber(ARGV[3]), {}
for i = 4, same do shared[#shared + 1] = ARGV[i] end
local push, front = 'RPUSH', '0'
if ARGV[2] == '1' then push, front = 'LPUSH', '1' end
for i = same + 1, #ARGV, 3 do
    local key = ARGV[1] .. ':job:' .. ARGV[i]
    redis.call('DEL', key)
    redis.call('HSET', key, 'data', ARGV[i + 1], 'description', ARGV[i + 2], 'enqueue_at_front', front, unpack(shared))
    redis.call('ZREM', KEYS[2], ARGV[i])
    redis.call(push, KEYS[1], ARGV[i])
end
"""


class JobQueue:
    """One RQ queue, with every setting that RQ would otherwise default to something unsafe."""

    def __init__(self, client: Redis, *, name: str, job_timeout: float) -> None:
        """`job_timeout` in seconds."""
        self.client = client
        self.name = name
        self._job_timeout = max(1, round(job_timeout))
        # JSON: with RQ's default, pickle, write access to Redis is code execution in every worker.
        self.rq = Queue(name, connection=client, serializer="json", default_timeout=self._job_timeout)
        self._shared: dict[str, Any] | None = None
        self._push = client.register_script(_PUSH)
        self._push_keys = [self.rq.key, self.rq.scheduled_job_registry.key, Queue.redis_queues_keys]

    def push(self, job_ids: Iterable[uuid.UUID], *, urgent: bool = False) -> int:
        """Put the jobs on the queue; how many. Raises redis.RedisError with none or, of many, the first ones pushed.

        Urgent ones go before all that wait, the newest first, and do so again when they are retried.

        RQ's own enqueue costs a third of a millisecond of the caller's time for each. Nor is it RQ's `unique`: that
        refuses an id for as long as Redis keeps the finished job, and would hold back a retry.
        """
        names = [str(job_id) for job_id in job_ids]
        for first in range(0, len(names), _BATCH):
            self._push_batch(names[first : first + _BATCH], urgent=urgent)
        return len(names)

    def _push_batch(self, names: list[str], *, urgent: bool) -> None:
        shared = self._shared_fields()
        args: list[Any] = [RQ_KEY_PREFIX, int(urgent), len(shared), *shared]
        for name in names:
            args += [name, zlib.compress(json.dumps([FUNCTION, None, [name], {}]).encode()), f"job {name}"]
        self._push(keys=self._push_keys, args=args)

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


def _oldest_alive() -> float:
    """The lowest score in a started registry of a job whose worker has given its last sign of life in time."""
    return time.time() + ABANDONED_AFTER - HEARTBEAT_INTERVAL - _LATE
