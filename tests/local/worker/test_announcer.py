"""From a committed row to the queue, and what becomes of it when Redis is not there."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest
from redis import OutOfMemoryError, Redis
from rq.job import Job

from app.queue.outbox import Announcer
from app.queue.wakeups import FAILURE_TTL, FUNCTION, RESULT_TTL, Wakeups

QUEUE = "webhook-processor"
pytestmark = [pytest.mark.local, pytest.mark.timeout(60)]


@pytest.fixture
def announcer(redis_url: str) -> Any:
    made = Announcer(redis_url, job_timeout=100)
    yield made
    made.close()


def test_an_id_is_on_the_queue_within_moments(world: Any, announcer: Announcer, eventually: Any) -> None:
    job_id = uuid.uuid4()

    announcer.announce(job_id, QUEUE)

    eventually(lambda: world.queue.waiting_ids() == {str(job_id)})
    job = Job.fetch(str(job_id), connection=world.redis, serializer="json")
    assert (job.func_name, job.args, job.kwargs) == (FUNCTION, [str(job_id)], {})
    assert (job.timeout, job.result_ttl, job.failure_ttl) == (100, RESULT_TTL, FAILURE_TTL)
    assert job.retries_left > 100
    assert job.enqueue_at_front_on_retry
    assert b"pickle" not in job.data
    assert str(job_id).encode() in job.data
    eventually(lambda: (announcer.sent, announcer.failed) == (1, 0))


def test_closing_sends_what_is_held(world: Any, announcer: Announcer) -> None:
    ids = [uuid.uuid4() for _ in range(500)]
    for job_id in ids:
        announcer.announce(job_id, QUEUE)

    announcer.close(timeout=10)

    assert world.redis.lrange(world.queue.rq.key, 0, -1) == [str(job_id).encode() for job_id in ids]
    assert announcer.sent == 500


def test_redis_away_costs_the_caller_nothing_and_is_counted(announcer: Announcer, valkey: Any, eventually: Any) -> None:
    valkey.stop()
    try:
        began = time.monotonic()
        for _ in range(50):
            announcer.announce(uuid.uuid4(), QUEUE)
        assert time.monotonic() - began < 0.2
        eventually(lambda: announcer.failed == 50)
    finally:
        valkey.start()

    announcer.announce(uuid.uuid4(), QUEUE)

    eventually(lambda: announcer.sent == 1)


def test_one_that_was_never_used_needs_no_redis(world: Any) -> None:
    unused = Announcer("redis://127.0.0.1:9/0", job_timeout=1)

    unused.close()

    assert (unused.sent, unused.failed) == (0, 0)


def test_each_job_is_put_on_its_own_queue(redis_url: str, announcer: Announcer, eventually: Any) -> None:
    first, second = uuid.uuid4(), uuid.uuid4()
    announcer.announce(first, QUEUE)
    announcer.announce(second, "mail")

    with Redis.from_url(redis_url) as client:
        eventually(lambda: client.lrange("rq:queue:mail", 0, -1) == [str(second).encode()])
        eventually(lambda: client.lrange(f"rq:queue:{QUEUE}", 0, -1) == [str(first).encode()])


def test_a_full_server_takes_no_job(redis_url: str) -> None:
    """Or the queue would grow beyond all limits where everything else has stopped."""
    with Redis.from_url(redis_url) as client:
        queue = Wakeups(client, name=QUEUE, job_timeout=1)
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(OutOfMemoryError):
                queue.enqueue([uuid.uuid4()])
        finally:
            client.config_set("maxmemory", 0)
        assert client.keys("*") == []
