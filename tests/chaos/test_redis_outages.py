"""Redis that is stopped, emptied, demoted, cut off, full, or wrong about what is running (F7 to F10, F17, F18)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from redis import Redis, ResponseError
from rig.chaos import QUEUE_KEY, STARTED_KEY, Chaos
from rig.client import Load
from rig.proxy import Proxy
from rig.receiver import reply
from rig.servers import HOST, Valkey
from rig.waiting import wait_for
from rq import Queue


@pytest.fixture
def proxy(valkey: Valkey) -> Iterator[Proxy]:
    """A network of the application's own to Valkey."""
    made = Proxy(valkey.port)
    yield made
    made.close()


def via(proxy: Proxy) -> dict[str, str]:
    return {"REDIS_URL": f"redis://{HOST}:{proxy.port}/0"}


@pytest.mark.chaos
def test_f7_redis_stopped_for_20_s_while_jobs_run(chaos: Chaos) -> None:
    chaos.up(workers=2)
    slow = chaos.receiver.on("/slow", reply(200, after=3.0))
    accepted = chaos.client.deliver_many(10, slow)
    chaos.wait_for_calls(10)

    with chaos.bound("F7", 60) as bound:
        chaos.valkey.stop()
        stopped = time.monotonic()
        accepted += chaos.client.deliver_many(20, chaos.receiver.url)
        wait_for(lambda: time.monotonic() > stopped + 20, what="20 s without Redis")
        chaos.valkey.start()
        found = chaos.assert_exactly_once(accepted, bound)

    assert found.repeated == 0
    assert set(chaos.client.outcomes) == {"202"}
    assert len(chaos.apps.running("worker")) == 2


def test_f8_redis_forgets_a_hundred_jobs(chaos: Chaos) -> None:
    chaos.up(workers=0)
    accepted = chaos.client.deliver_many(100, chaos.receiver.url)
    with chaos.valkey.client() as redis:
        wait_for(lambda: redis.llen(QUEUE_KEY) == 100, what="100 announced jobs")

        with chaos.bound("F8", 30) as bound:
            redis.flushall()
            chaos.apps.worker()
            found = chaos.assert_exactly_once(accepted, bound)

    assert found.repeated == 0


def test_f9_redis_fails_over_to_a_replica_under_load(chaos: Chaos, proxy: Proxy) -> None:
    """The old primary answers READONLY to who is still connected; the name leads to the new one. Replication is
    asynchronous, so that what was announced last may be unknown there."""
    replica = Valkey(chaos.apps.folder, name="replica")
    replica.start()
    try:
        with replica.client() as new, chaos.valkey.client() as old:
            new.replicaof(HOST, str(chaos.valkey.port))
            wait_for(lambda: new.info()["master_link_status"] == "up", what="replication")
            chaos.up(workers=2, **via(proxy))

            with chaos.bound("F9", 45) as bound:
                with Load(chaos.client, chaos.receiver.url) as load:
                    chaos.wait_for_calls(20)
                    new.replicaof("NO", "ONE")
                    old.replicaof(HOST, str(replica.port))
                    proxy.target = replica.port
                    before = chaos.receiver.count()
                    chaos.wait_for_calls(before + 50)
                chaos.assert_exactly_once(load.accepted, bound)

            assert set(chaos.client.outcomes) == {"202"}
            assert clients_of(new) >= {"nudge"}
    finally:
        replica.stop()


def clients_of(redis: Redis) -> set[str]:
    return {client["name"] for client in redis.client_list()}


@pytest.mark.chaos
@pytest.mark.parametrize("forget", [False, True], ids=["connections live on", "connections are reset"])
def test_f10_the_network_to_redis_is_cut_for_60_s(chaos: Chaos, proxy: Proxy, forget: bool) -> None:
    """A cut gives no error: whoever waits for an answer has to give up by itself."""
    chaos.up(workers=2, **via(proxy))
    slow = chaos.receiver.on("/slow", reply(200, after=2.0))
    accepted = chaos.client.deliver_many(10, slow)
    chaos.wait_for_calls(10)

    with chaos.bound("F10", 100) as bound:
        proxy.cut()
        began = time.monotonic()
        accepted += chaos.client.deliver_many(20, chaos.receiver.url)
        wait_for(lambda: all(app.log_has("waiting for Redis") for app in chaos.apps.running("worker")), timeout=60)
        wait_for(lambda: "unavailable" in chaos.client.ask("GET", "/health").json()["services"]["redis"], timeout=60)
        chaos.note(f"noticed by all after {time.monotonic() - began:.1f} s")
        wait_for(lambda: time.monotonic() > began + 60, timeout=70, what="60 s without a network")
        proxy.mend(forget=forget)
        found = chaos.assert_exactly_once(accepted, bound)

    assert found.repeated == 0
    assert chaos.client.outcomes["202"] == 30


def test_f17_a_finished_job_that_redis_takes_for_lost_has_no_second_effect(chaos: Chaos) -> None:
    chaos.up()
    accepted = chaos.client.deliver_many(10, chaos.receiver.url)
    wait_for(lambda: [row.state for row in chaos.query("SELECT state FROM jobs")] == ["done"] * 10)
    jobs = [str(row.id) for row in chaos.query("SELECT id FROM jobs")]

    with chaos.bound("F17", 20) as bound, chaos.valkey.client() as redis:
        # An entry of a worker that is gone, and what RQ before 3.0 made of it: the job on the queue again.
        redis.zadd(STARTED_KEY, {f"{job_id}:planted": time.time() - 100 for job_id in jobs})
        Queue("webhook-processor", connection=redis, serializer="json").started_job_registry.cleanup()
        redis.rpush(QUEUE_KEY, *jobs)
        wait_for(lambda: redis.llen(QUEUE_KEY) == 0 and redis.zcard(STARTED_KEY) == 0, what="an empty queue")
        # One more shows that those before it were taken and left alone.
        accepted.append(chaos.client.deliver(chaos.receiver.url))
        found = chaos.assert_exactly_once(accepted, bound)

    assert found.repeated == 0


def test_f18_a_full_redis_refuses_writes_and_the_api_accepts_all_the_same(chaos: Chaos) -> None:
    chaos.up(workers=1)
    with chaos.valkey.client() as redis, chaos.bound("F18", 40) as bound:
        redis.config_set("maxmemory", 1)
        with pytest.raises(ResponseError, match="maxmemory"):
            redis.set("anything", "x")
        accepted = chaos.client.deliver_many(30, chaos.receiver.url)
        wait_for(lambda: chaos.metric("slipway_nudge_failures_total") >= 1, what="a counted failure")
        assert chaos.metric("slipway_outbox_unsent") > 0
        redis.config_set("maxmemory", 0)
        chaos.assert_exactly_once(accepted, bound)

    assert set(chaos.client.outcomes) <= {"202", "200"}
