"""Two versions of the application at once, as in every rolling deployment (F20)."""

from __future__ import annotations

import psycopg
import pytest
from redis import Redis
from rig.chaos import QUEUE_KEY, Chaos
from rig.waiting import wait_for
from rq import Queue

NEW = {"CHAOS_KIND": "delivery-2", "SERVICE_VERSION": "2.0.0"}
"""The next version calls its jobs differently, and knows no others."""


def test_f20_each_version_does_the_jobs_that_it_knows(chaos: Chaos) -> None:
    chaos.up(workers=1)
    chaos.apps.api(**NEW)
    chaos.apps.worker(**NEW)

    with chaos.bound("F20", 45) as bound:
        # The replicas take turns, so half of the jobs are of either kind.
        accepted = chaos.client.deliver_many(60, chaos.receiver.url)
        found = chaos.assert_exactly_once(accepted, bound)

    kinds = {row.kind: row.count for row in chaos.query("SELECT kind, count(*) FROM jobs GROUP BY kind")}
    assert kinds["delivery"] > 10
    assert kinds["delivery-2"] > 10
    assert found.repeated == 0


@pytest.mark.chaos
def test_f20_an_old_worker_alone_leaves_new_jobs_for_later(chaos: Chaos) -> None:
    chaos.apps.api(**NEW)
    old = chaos.apps.worker()
    chaos.client.log_in()

    with chaos.bound("F20", 45) as bound, chaos.valkey.client() as redis:
        accepted = chaos.client.deliver_many(10, chaos.receiver.url)
        wait_for(lambda: redis.llen(QUEUE_KEY) == 0, what="the old worker to look at them")
        wait_for(lambda: swept(chaos) == 10, what="the sweeper to bring them back")
        states = {(row.state, row.attempt) for row in chaos.query("SELECT state, attempt FROM jobs")}
        assert states == {("pending", 0)}
        chaos.apps.worker(**NEW)
        old.terminate()
        assert old.wait() == 0
        found = chaos.assert_exactly_once(accepted, bound)

    assert found.repeated == 0


def test_f20_a_job_that_another_version_announced_otherwise_is_done(chaos: Chaos) -> None:
    """The queue's payload only wakes somebody. One that cannot be read costs time; the row has all that counts."""
    chaos.up(workers=0)
    accepted = chaos.client.deliver_many(6, chaos.receiver.url)

    with chaos.bound("F20", 45) as bound, chaos.valkey.client() as redis:
        wait_for(lambda: redis.llen(QUEUE_KEY) == 6, what="announced jobs")
        redis.flushall()
        announce_otherwise(redis, chaos)
        chaos.apps.worker()
        found = chaos.assert_exactly_once(accepted, bound)

    assert found.repeated == 0


def announce_otherwise(redis: Redis, chaos: Chaos) -> None:
    queue = Queue("webhook-processor", connection=redis, serializer="json")
    with psycopg.connect(chaos.postgres.url) as connection:
        names = [str(job_id) for (job_id,) in connection.execute("SELECT id FROM jobs")]
    queue.enqueue_call("app.jobs.execute.execute", args=(names[0],), kwargs={"priority": 1}, job_id=names[0])
    queue.enqueue_call("app.jobs.execute.execute", args=({"job": names[1]},), job_id=names[1])
    queue.enqueue_call("app.jobs.execute.another", args=(names[2],), job_id=names[2])
    queue.enqueue_call("app.gone.execute", args=(names[3],), job_id=names[3])
    # With another serializer, and with no data at all.
    Queue("webhook-processor", connection=redis).enqueue_call(
        "app.jobs.execute.execute", args=(names[4],), job_id=names[4]
    )
    redis.rpush(QUEUE_KEY, names[5])


def swept(chaos: Chaos) -> int:
    [row] = chaos.query("SELECT count(*) FROM jobs WHERE enqueued_at IS NOT NULL")
    return int(row.count)
