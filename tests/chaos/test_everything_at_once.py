"""Workers, Redis and Postgres fail at random under load (F1, F7, F11 together are F21)."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from rig.chaos import Chaos
from rig.processes import SHORT_LEASE
from rig.receiver import Answer, Call, reply

JOBS = 2_000
STORM = 40.0
"""Seconds in which something fails every moment; what is left afterwards of the bound is for recovery."""


@pytest.mark.chaos
def test_f21_two_thousand_jobs_under_random_faults(chaos: Chaos, seed: int) -> None:
    chance = random.Random(seed)
    chaos.up(workers=4, QUEUE_CONCURRENCY="8", **SHORT_LEASE)
    chaos.apps.api()
    url = chaos.receiver.on("/unreliable", unreliable(random.Random(seed + 1)))

    with chaos.bound("F21", 120) as bound, ThreadPoolExecutor(1) as pool:
        accepting = pool.submit(chaos.client.deliver_many, JOBS, url, at_once=6)
        until = time.monotonic() + STORM
        while time.monotonic() < until:
            break_something(chaos, chance)
            time.sleep(chance.uniform(0.2, 2.0))
        chaos.note(f"{dict(chaos.client.outcomes)} by the end of the storm")
        chaos.assert_exactly_once(accepting.result(), bound)

    assert set(chaos.client.outcomes) <= {"202", "503", "none"}


def break_something(chaos: Chaos, chance: random.Random) -> None:
    fault = chance.choices(["worker", "stop", "api", "redis", "forget", "postgres"], [8, 3, 1, 3, 1, 2])[0]
    match fault:
        case "worker":
            victim = chance.choice(chaos.apps.running("worker"))
            victim.kill()
            chaos.apps.again(victim)
        case "stop":
            victim = chance.choice(chaos.apps.running("worker"))
            victim.terminate()
            assert victim.wait() == 0
            chaos.apps.again(victim)
        case "api":
            victim = chance.choice(chaos.apps.running("api"))
            victim.kill()
            chaos.apps.again(victim)
        case "redis":
            chaos.valkey.stop()
            time.sleep(chance.uniform(0.1, 3.0))
            chaos.valkey.start()
        case "forget":
            with chaos.valkey.client() as redis:
                redis.flushall()
        case "postgres":
            chance.choice([chaos.postgres.crash, chaos.postgres.shut_down])()
            time.sleep(chance.uniform(0.1, 2.0))
            chaos.postgres.start()


def unreliable(chance: random.Random) -> Answer:
    """One request in twenty fails, one in twenty takes long."""

    def answer(handler: object, call: Call) -> None:
        draw = chance.random()
        status = 503 if draw < 0.05 and call.number < 3 else 200
        reply(status, after=0.5 if draw > 0.95 else 0.0)(handler, call)  # type: ignore[arg-type]

    return answer
