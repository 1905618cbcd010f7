"""The scripts that write RQ's keys: each a step that happens wholly or not at all.

RQ's key names are built here: no cluster mode, which RQ cannot use either.
"""

from __future__ import annotations

from typing import Final

# KEYS[1] the queue's list; KEYS[2] its scheduled registry: sorted set of job ids; KEYS[3] RQ's set of queues
# ARGV[1] RQ's prefix; ARGV[2] 1 for the front of the queue; ARGV[3] how many fields and values follow that are the same
#   for every job; then those; then for each job its id, its data and its description
# A job that is put on the queue again begins anew: what is left of its last run would make it expire while it waits.
ENQUEUE: Final = """
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

# KEYS[1] queue: list of job ids; KEYS[2] started registry: sorted set of job:execution by the time when it counts as
#   abandoned; KEYS[3] the worker's executions: set of job:execution
# ARGV[1] now, as RQ writes times; ARGV[2] now, in seconds since 1970; ARGV[3] the worker; ARGV[4] seconds without a
#   heartbeat until a job counts as abandoned; ARGV[5] RQ's prefix; ARGV[6..] an id for each execution: so many jobs
# Returns {job id, execution id, the job's hash} for each job that was taken. An id whose job is gone is dropped.
DEQUEUE: Final = """
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
# ARGV[5..] for each job: id, execution id, end, seconds to keep it (0 deletes, -1 keeps for ever), the time when it
#   is due, result or error as RQ stores it, start and end in seconds since 1970
# Does nothing for a job that this execution has no longer taken: its end was acknowledged before (an answer that was
#   lost, a reader who came between that and the worker's own note of it), or RQ's maintenance has given the job up and
#   put it on the queue or among the failed. What is pushed back then would run a second time. The started registry says
#   so: the worker's own set expires while a long job runs.
# Returns the ids of the ended jobs that others depend on, also when this acknowledges again.
ACKNOWLEDGE: Final = """
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
    local taken = redis.call('ZREM', KEYS[2], entry) == 1
    redis.call('DEL', prefix .. ':execution:' .. entry)
    redis.call('ZREM', executions, execution)
    redis.call('SREM', KEYS[6], entry)
    if not taken then
        if redis.call('HGET', key, 'status') == fate and redis.call('EXISTS', key .. ':dependents') == 1
            and (fate == 'finished' or fate == 'failed') then parents[#parents + 1] = id end
        fate = ''
    end
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

# KEYS[1] scheduled registry: sorted set of job ids by the time they are due; KEYS[2] the queue's list
# ARGV[1] now, in seconds since 1970; ARGV[2] how many to move at most; ARGV[3] RQ's prefix
# Returns the score of the next one to become due, or false when there is none.
PROMOTE: Final = """
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

# KEYS[1] a registry: sorted set of job ids, scored by expiry; with one constant time to live, the lowest is the oldest
# ARGV[1] how many to keep; ARGV[2] how many to remove at most; ARGV[3..] states in which a job may be deleted
# Returns how many entries were removed. A job that was put on the queue again loses only its entry.
TRIM: Final = """
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
