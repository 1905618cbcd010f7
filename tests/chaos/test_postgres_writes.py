"""Postgres that orders its callers, and one that takes no writes any more while its sessions live on (F23, F24)."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from rig.chaos import Bound, Chaos
from rig.client import Load
from rig.proxy import Proxy
from rig.servers import Postgres
from rig.waiting import wait_for

ROUNDS = 6
KEYS = 40
OTHERS = 5
STALLED = """
INSERT INTO deliveries (id, user_id, url, payload, max_attempts, idempotency_key)
SELECT gen_random_uuid(), id, 'x', '1', 1, %s FROM users
"""
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.mark.chaos
def test_f23_clients_repeat_the_same_keys_in_bulk_in_opposite_orders(chaos: Chaos) -> None:
    """As after a time-out of everything that was under way: each replica has gathered all of the keys, one of them in
    the opposite order, when a stall ends; and both are half way when they meet. Nobody else hears of it, and neither do
    they."""
    chaos.up(workers=1)
    chaos.apps.api()
    ports = [app.port for app in chaos.apps.running("api")]
    url, accepted = chaos.receiver.url, set[uuid.UUID]()
    with chaos.bound("F23", 60) as bound, ThreadPoolExecutor(2 * (KEYS + OTHERS + 2)) as pool:
        for number in range(ROUNDS):
            # New connections: those that idle for some seconds are the server's to close.
            replicas = [chaos.client.at(port) for port in ports]
            keys = [f"bulk-{number}-{key}" for key in range(KEYS)]
            with psycopg.connect(chaos.postgres.url) as holder, psycopg.connect(chaos.postgres.url) as middle:
                holder.execute(STALLED, [f"stall-{number}"])
                middle.execute(STALLED, [keys[KEYS // 2]])
                asked = []
                for waiting in (2, 4):
                    asked += [pool.submit(one.deliver, url, key=f"stall-{number}") for one in replicas]
                    wait_for(lambda waiting=waiting: chaos.query(WAITING)[0].count == waiting, what="replicas to stall")
                asked += [pool.submit(one.deliver, url) for one in replicas for _ in range(OTHERS)]
                for forth, back in zip(keys, reversed(keys), strict=True):
                    asked += [pool.submit(replicas[0].deliver, url, key=forth)]
                    asked += [pool.submit(replicas[1].deliver, url, key=back)]
                time.sleep(0.3)  # proves nothing: the more arrive meanwhile, the more are in one batch
                holder.rollback()
                # Each has its first keys now, and waits.
                wait_for(lambda: chaos.query(WAITING)[0].count >= 2, what="both batches to be half way")
                middle.rollback()
            ids = {one.result() for one in asked}
            assert len(ids) == KEYS + 2 * OTHERS + 1
            accepted |= ids
            for one in replicas:
                one.close()
        chaos.assert_exactly_once(accepted, bound)

    assert set(chaos.client.outcomes) == {"202"}


def refused_meanwhile(chaos: Chaos, bound: Bound) -> None:
    """Until it was seen that each of its callers is told to come again, and the load balancer to look elsewhere."""
    [api] = chaos.apps.running("api")
    wait_for(lambda: api.answers("/health") == 503, timeout=bound.left, what="/health to say so")
    wait_for(lambda: chaos.client.outcomes["503"] >= 8, timeout=bound.left, what="requests refused with 503")
    answer = chaos.client.ask("POST", "/v1/deliveries", json={"url": chaos.receiver.url, "payload": 1})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


def recovered(chaos: Chaos, bound: Bound) -> None:
    [api] = chaos.apps.running("api")
    wait_for(lambda: api.answers("/health") == 200, timeout=bound.left, what="/health to recover")
    before = chaos.client.outcomes["202"]
    wait_for(lambda: chaos.client.outcomes["202"] > before + 20, timeout=bound.left, what="accepted requests")


def test_f24_postgres_takes_no_writes_for_a_while(chaos: Chaos) -> None:
    chaos.up(workers=2)
    with chaos.bound("F24", 45) as bound:
        with Load(chaos.client, chaos.receiver.url, threads=4) as load:
            chaos.wait_for_calls(20)
            chaos.postgres.demote()
            refused_meanwhile(chaos, bound)
            chaos.postgres.restore()
            recovered(chaos, bound)
        found = chaos.assert_exactly_once(load.accepted, bound)

    # Shorter than a lease: what had been sent waited to be stored.
    assert found.repeated == 0
    assert set(chaos.client.outcomes) == {"202", "503"}


@pytest.mark.chaos
def test_f24_a_standby_takes_over_and_the_old_primary_keeps_its_sessions(chaos: Chaos) -> None:
    """The address leads to the new primary. What is connected to the old one stays connected, and is of no use."""
    old = chaos.postgres
    standby = old.copy(old._data.parent / "standby")
    proxy = Proxy(old.port)
    try:
        chaos.up(workers=2, DATABASE_URL=old.url_of(Postgres.DATABASE, port=proxy.port))
        with chaos.bound("F24", 60) as bound:
            with Load(chaos.client, chaos.receiver.url, threads=4) as load:
                chaos.wait_for_calls(20)
                old.demote()
                refused_meanwhile(chaos, bound)
                standby.take_over(old)
                proxy.target = standby.port
                with chaos.bound("F24b", 15) as recovery:
                    recovered(chaos, recovery)
                chaos.postgres = standby
            found = chaos.assert_exactly_once(load.accepted, bound)

        assert found.repeated == 0
        assert set(chaos.client.outcomes) == {"202", "503"}
        assert Counter(chaos.client.ask("GET", "/v1/auth/me").status_code for _ in range(20)) == {200: 20}
    finally:
        chaos.apps.end()
        proxy.close()
        standby.crash()
