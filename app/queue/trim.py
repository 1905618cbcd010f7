"""Keep the last N finished and failed jobs in Redis, as RQ cannot: it only knows times to live."""

from __future__ import annotations

from redis import Redis
from rq import Queue
from rq.defaults import RQ_KEY_PREFIX

_BATCH = 500
_ENDED = ("finished", "failed", "stopped", "canceled")

# KEYS[1] a registry: sorted set of job ids, scored by expiry; with one constant time to live, the lowest is the oldest
# ARGV[1] how many to keep; ARGV[2] how many to remove at most; ARGV[3..] states in which a job may be deleted
# Returns how many entries were removed. A job that was put on the queue again loses only its entry.
# RQ's key names are built here: no cluster mode, which RQ cannot use either.
_TRIM = """
local excess = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[1])
if excess <= 0 then return 0 end
local ids = redis.call('ZRANGE', KEYS[1], 0, math.min(excess, tonumber(ARGV[2])) - 1)
for _, id in ipairs(ids) do
    local key = ARGV[3] .. ':job:' .. id
    local status = redis.call('HGET', key, 'status')
    for i = 4, #ARGV do
        if status == ARGV[i] then
            redis.call('DEL', key, ARGV[3] .. ':results:' .. id, ARGV[3] .. ':executions:' .. id)
        end
    end
    redis.call('ZREM', KEYS[1], id)
end
return #ids
"""


def trim(client: Redis, queue: Queue, *, keep_finished: int, keep_failed: int) -> int:
    """Remove the oldest finished and failed jobs beyond what is to be kept, their data with them; how many."""
    script = client.register_script(_TRIM)
    removed = 0
    for key, keep in (
        (queue.finished_job_registry.key, keep_finished),
        (queue.failed_job_registry.key, keep_failed),
    ):
        while True:
            count = int(script(keys=[key], args=[keep, _BATCH, RQ_KEY_PREFIX, *_ENDED]))
            removed += count
            if count < _BATCH:
                break
    return removed
