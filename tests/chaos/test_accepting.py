"""Postgres that restarts under load, an API that dies at the worst moment, and callers that repeat themselves
(F11 to F13)."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from rig.chaos import Chaos
from rig.client import Load
from rig.processes import SHORT_LEASE
from rig.proxy import Proxy
from rig.servers import HOST, Postgres, free_port
from rig.waiting import wait_for


@pytest.mark.parametrize(
    "stop",
    [
        pytest.param(Postgres.crash, id="crash"),
        pytest.param(Postgres.shut_down, id="shut down", marks=pytest.mark.chaos),
    ],
)
def test_f11_postgres_restarts_under_load(chaos: Chaos, stop: Callable[[Postgres], None]) -> None:
    chaos.up(workers=2, **SHORT_LEASE)
    [api] = chaos.apps.running("api")
    with chaos.bound("F11", 45) as bound:
        with Load(chaos.client, chaos.receiver.url) as load:
            chaos.wait_for_calls(20)
            stop(chaos.postgres)
            wait_for(lambda: api.answers("/health") == 503, what="/health to say so")
            wait_for(lambda: chaos.client.outcomes["503"] >= 3, what="requests refused with 503")
            chaos.postgres.start()
            wait_for(lambda: api.answers("/health") == 200, what="/health to recover")
            before = chaos.client.outcomes["202"]
            wait_for(lambda: chaos.client.outcomes["202"] > before + 20, what="accepted requests")
        chaos.assert_exactly_once(load.accepted, bound)

    # A connection that broke is no answer of another kind, and no pool keeps broken ones.
    assert set(chaos.client.outcomes) == {"202", "503"}
    assert Counter(chaos.client.ask("GET", "/v1/auth/me").status_code for _ in range(20)) == {200: 20}


@pytest.mark.chaos
@pytest.mark.parametrize("forget", [False, True], ids=["connections live on", "connections are reset"])
def test_f10_the_network_to_postgres_is_cut(chaos: Chaos, forget: bool) -> None:
    """Requests end with a 503 of their own timeout. What the kernel would notice of a real cut (TCP_USER_TIMEOUT) a
    proxy hides, because it acknowledges what it holds back."""
    proxy = Proxy(chaos.postgres.port)
    url = {"DATABASE_URL": chaos.postgres.url_of(Postgres.DATABASE, port=proxy.port), "REQUEST_TIMEOUT": "2000"}
    try:
        chaos.up(workers=1, **url, **SHORT_LEASE)
        [api] = chaos.apps.running("api")
        with chaos.bound("F10", 60) as bound:
            with Load(chaos.client, chaos.receiver.url, threads=4) as load:
                chaos.wait_for_calls(20)
                proxy.cut()
                wait_for(lambda: api.answers("/health") == 503, what="/health to say so")
                # None would be no answer within five seconds.
                assert [api.answers("/health") for _ in range(3)] == [503] * 3
                wait_for(lambda: chaos.client.outcomes["503"] >= 8, what="requests refused with 503")
                proxy.mend(forget=forget)
                wait_for(lambda: api.answers("/health") == 200, what="/health to recover")
                before = chaos.client.outcomes["202"]
                wait_for(lambda: chaos.client.outcomes["202"] > before + 20, what="accepted requests")
            chaos.assert_exactly_once(load.accepted, bound)
        assert set(chaos.client.outcomes) == {"202", "503"}
    finally:
        chaos.apps.end()
        proxy.close()


def test_f12_the_api_dies_between_the_commit_and_the_announcement(chaos: Chaos) -> None:
    chaos.apps.api()
    chaos.apps.worker()
    chaos.client.log_in()
    chaos.apps.running("api")[0].kill()
    deadly = chaos.apps.api(CHAOS_DIE_AT="3")
    deadly.expected_end = True

    with chaos.bound("F12", 30) as bound, ThreadPoolExecutor(1) as pool:
        accepting = pool.submit(chaos.client.deliver_many, 5, chaos.receiver.url, at_once=1)
        assert deadly.wait() < 0
        # The row is there, the caller has no answer, and nobody was told.
        wait_for(lambda: len(chaos.query("SELECT id FROM deliveries")) == 3)
        assert chaos.client.outcomes["202"] == 2
        chaos.apps.api()
        chaos.assert_exactly_once(accepting.result(), bound)


def test_f12_redis_is_out_of_the_apis_reach_only(chaos: Chaos) -> None:
    chaos.apps.api(REDIS_URL=f"redis://{HOST}:{free_port()}/0")
    chaos.apps.worker()
    chaos.client.log_in()

    with chaos.bound("F12", 30) as bound:
        accepted = chaos.client.deliver_many(50, chaos.receiver.url)
        found = chaos.assert_exactly_once(accepted, bound)

    assert found.repeated == 0
    assert set(chaos.client.outcomes) == {"202"}


def test_f13_one_key_fifty_times_at_once_and_long_after_is_one_delivery(chaos: Chaos) -> None:
    chaos.up(workers=2, QUEUE_REMOVE_ON_COMPLETE="0")
    chaos.apps.api()

    def deliver(_: int) -> uuid.UUID:
        return chaos.client.deliver(chaos.receiver.url, key="always-the-same")

    with chaos.bound("F13", 30) as bound, ThreadPoolExecutor(50) as pool:
        accepted = set(pool.map(deliver, range(50)))
        chaos.assert_exactly_once(accepted, bound)
        # Redis keeps nothing of it any more: as long after the job's result expired.
        with chaos.valkey.client() as redis:
            wait_for(lambda: not redis.keys("rq:job:*"), what="Redis to forget the job")
        accepted |= set(pool.map(deliver, range(10)))
        time.sleep(2.5)  # two rounds of the sweeper: a second job would have run by now
        found = chaos.assert_exactly_once(accepted, bound)

    assert (found.accepted, found.calls) == (1, 1)
    assert chaos.client.outcomes == {"202": 60}
