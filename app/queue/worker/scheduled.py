"""Wakes scheduled retries on time, from RQ's own scheduled registry.

Not by RQ's scheduler: it is a child process per worker (a second interpreter in memory, whose death is noticed only at
maintenance), and it works in whole seconds rounded down, so a job would come back before it is due. Not by timers in
the worker that failed the attempt either: they are gone with it. In the registry the wait is shared by all workers,
outlives them, and shows in RQ's tools. If Redis forgets it, the sweeper finds the row.
"""

from __future__ import annotations

import time
from typing import cast

from redis import Redis
from rq import Queue
from rq.defaults import RQ_KEY_PREFIX

_BATCH = 100

# KEYS[1] scheduled registry: sorted set of job ids by the time they are due; KEYS[2] the queue's list
# ARGV[1] now, in seconds since 1970; ARGV[2] how many to move at most; ARGV[3] RQ's prefix
# Returns the score of the next one to become due, or false when there is none.
_PROMOTE = """
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, id in ipairs(due) do
    redis.call('ZREM', KEYS[1], id)
    local key = ARGV[3] .. ':job:' .. id
    if redis.call('EXISTS', key) == 1 then
        redis.call('HSET', key, 'status', 'queued')
        redis.call(redis.call('HGET', key, 'enqueue_at_front') == '1' and 'LPUSH' or 'RPUSH', KEYS[2], id)
    end
end
local following = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return following[2] or false
"""


class Scheduled:
    """Moves due jobs to the queue; asks Redis at most every `interval` seconds unless one is known to be due."""

    def __init__(self, client: Redis, queue: Queue, *, interval: float) -> None:
        self._script = client.register_script(_PROMOTE)
        self._keys = [queue.scheduled_job_registry.key, queue.key]
        self._interval = interval
        self._next = 0.0

    def promote(self) -> float:
        """Seconds until this should be called again."""
        now = time.time()
        if now >= self._next:
            score = cast("bytes | None", self._script(keys=self._keys, args=[now, _BATCH, RQ_KEY_PREFIX]))
            following = now + self._interval if score is None else float(score)
            self._next = min(following, now + self._interval)
        return max(0.0, min(self._next - time.time(), self._interval))

    def expect(self, due: float) -> None:
        """A job was scheduled for `due`, in seconds since 1970; called from any thread."""
        self._next = min(self._next, due)
