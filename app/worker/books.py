"""RQ's books in Redis, kept for many jobs in one round trip.

RQ itself needs about twenty commands in five round trips around each job. Here two scripts write the same keys: `take`
pops jobs and registers them as started, `tell` registers what came of them. Being scripts they are atomic, so there is
no moment in which a job is on no list (rq/rq#2236). `rq info`, `rq requeue` and RQ's maintenance find what they expect.

RQ's key names are built in the scripts: no cluster mode, which RQ cannot use either.
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

_JUST_WRITTEN = frozenset({b"started_at", b"last_heartbeat"})

Fate = Literal["finished", "failed", "scheduled", "queued", "dropped"]

# KEYS[1] queue: list of job ids; KEYS[2] started registry: sorted set of job:execution by the time when it counts as
#   abandoned; KEYS[3] the worker's executions: set of job:execution
# ARGV[1] now, as RQ writes times; ARGV[2] now, in seconds since 1970; ARGV[3] the worker; ARGV[4] seconds without a
#   heartbeat until a job counts as abandoned; ARGV[5] RQ's prefix; ARGV[6..] an id for each execution: so many jobs
# Returns {job id, execution id, the job's hash} for each job that was taken. An id whose job is gone is dropped.
_TAKE = """
local taken = {}
local deadline = string.format('%.6f', ARGV[2] + ARGV[4])
for n = 6, #ARGV do
    local id = redis.call('LPOP', KEYS[1])
    if not id then break end
    local key = ARGV[5] .. ':job:' .. id
    if redis.call('HEXISTS', key, 'data') == 1 then
        local entry = id .. ':' .. ARGV[n]
        local execution, executions = ARGV[5] .. ':execution:' .. entry, ARGV[5] .. ':executions:' .. id
        redis.call('HSET', key, 'status', 'started', 'started_at', ARGV[1], 'last_heartbeat', ARGV[1],
            'worker_name', ARGV[3])
        redis.call('PERSIST', key)
        redis.call('HSET', execution, 'id', ARGV[n], 'job_id', id, 'created_at', ARGV[2], 'last_heartbeat', ARGV[2],
            'worker_name', ARGV[3])
        redis.call('EXPIRE', execution, ARGV[4])
        redis.call('ZADD', executions, deadline + 60, ARGV[n])
        redis.call('EXPIRE', executions, ARGV[4] + 60)
        redis.call('ZADD', KEYS[2], deadline, entry)
        redis.call('SADD', KEYS[3], entry)
        taken[#taken + 1] = {id, ARGV[n], redis.call('HGETALL', key)}
    end
end
if #taken > 0 then redis.call('EXPIRE', KEYS[3], ARGV[4] + 60) end
return taken
"""

# KEYS[1] queue: list; KEYS[2] started, KEYS[3] finished, KEYS[4] failed, KEYS[5] scheduled registry: sorted sets;
#   KEYS[6] the worker's executions: set; KEYS[7] the worker: hash
# ARGV[1] now, as RQ writes times; ARGV[2] now, in seconds since 1970; ARGV[3] the worker; ARGV[4] RQ's prefix
# ARGV[5..] for each job: id, execution id, fate, seconds to keep it (0 deletes, -1 keeps for ever), the time when it
#   is due, result or error as RQ stores it, start and end in seconds since 1970
# Returns the ids of the ended jobs that others depend on.
_TELL = """
local parents = {}
local prefix = ARGV[4]
local counts = {successful_job_count = 0, failed_job_count = 0}
local seconds = 0

local function keep(key, ttl)
    if ttl > 0 then redis.call('EXPIRE', key, ttl) else redis.call('PERSIST', key) end
end

local function log_result(id, kind, ttl, execution, field, value, started, ended)
    local log = prefix .. ':results:' .. id
    local entry = {'type', kind, 'worker_name', ARGV[3], 'execution_id', execution,
        'execution_started_at', started, 'execution_ended_at', ended}
    if value ~= '' then entry[#entry + 1] = field; entry[#entry + 1] = value end
    redis.call('XADD', log, 'MAXLEN', '10', '*', unpack(entry))
    keep(log, ttl)
end

for i = 5, #ARGV, 8 do
    local id, execution, fate, ttl = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
    local due, value, started, ended = ARGV[i + 4], ARGV[i + 5], ARGV[i + 6], ARGV[i + 7]
    local key, executions, entry = prefix .. ':job:' .. id, prefix .. ':executions:' .. id, id .. ':' .. execution
    redis.call('ZREM', KEYS[2], entry)
    redis.call('DEL', prefix .. ':execution:' .. entry)
    redis.call('ZREM', executions, execution)
    redis.call('SREM', KEYS[6], entry)
    -- An id that was on the list twice: the other execution of the job tells how it ended.
    if fate == 'dropped' then
        fate = redis.call('EXISTS', executions) == 0 and 'finished' or ''
    end
    if fate ~= '' and redis.call('EXISTS', key) == 1 then
        local ends = fate == 'finished' or fate == 'failed'
        local count = fate == 'finished' and 'successful_job_count' or 'failed_job_count'
        if fate ~= 'queued' then counts[count] = counts[count] + 1 end
        if ends and ttl == 0 then
            redis.call('DEL', key, prefix .. ':results:' .. id)
        elseif fate == 'finished' then
            log_result(id, '1', ttl, execution, 'return_value', value, started, ended)
            redis.call('ZADD', KEYS[3], ttl < 0 and '+inf' or string.format('%.0f', ARGV[2] + ttl), id)
        elseif fate == 'failed' then
            log_result(id, '2', ttl, execution, 'exc_string', value, started, ended)
            redis.call('ZADD', KEYS[4], ttl < 0 and '+inf' or string.format('%.0f', ARGV[2] + ttl), id)
        elseif fate == 'scheduled' then
            redis.call('HINCRBY', key, 'number_of_retries', 1)
            log_result(id, '4', ttl, execution, 'return_value', value, started, ended)
            redis.call('ZADD', KEYS[5], due, id)
        elseif fate == 'queued' then
            redis.call('LPUSH', KEYS[1], id)
        end
        if redis.call('EXISTS', key) == 1 then
            redis.call('HSET', key, 'status', fate, 'ended_at', ARGV[1], 'last_heartbeat', ARGV[1])
            if ends then keep(key, ttl) end
        end
        if ends and redis.call('EXISTS', key .. ':dependents') == 1 then parents[#parents + 1] = id end
        seconds = seconds + math.max(0, ended - started)
    end
end
for name, count in pairs(counts) do
    if count > 0 then redis.call('HINCRBY', KEYS[7], name, count) end
end
redis.call('HINCRBYFLOAT', KEYS[7], 'total_working_time', string.format('%.6f', seconds))
return parents
"""


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
        """A time of the job: its limit, or how long it is to be kept."""
        return int(self.fields.get(name) or default)


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
        self._take = client.register_script(_TAKE)
        self._tell = client.register_script(_TELL)
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
        """Register what came of the jobs; the ids of those that other jobs depend on."""
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
