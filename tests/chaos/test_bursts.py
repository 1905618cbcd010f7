"""Bursts of requests over real sockets, whose callers leave or whose time ends while they are at the database (F22)."""

from __future__ import annotations

import asyncio
import random
import threading

import psycopg
import pytest
from rig.bursts import Bursts
from rig.chaos import Chaos
from rig.waiting import PATIENCE, wait_for

REQUEST_TIMEOUT = 1.5
_SLACK = 4.0 * PATIENCE
"""Seconds beyond the timeout and its half second of grace, for a machine that is busy."""


def _bursts(chaos: Chaos) -> Bursts:
    [api] = chaos.apps.running("api")
    return Bursts(api.port, url=chaos.receiver.url, token=chaos.client.token, within=REQUEST_TIMEOUT + 0.5 + _SLACK)


def _assert_told_the_truth(chaos: Chaos, bursts: Bursts) -> None:
    """What was accepted is stored once under its id, what was refused is not; who left may find either."""
    stored: dict[str, list[object]] = {}
    for row in chaos.query("SELECT d.id, idempotency_key FROM deliveries d JOIN jobs j ON j.subject_id = d.id"):
        stored.setdefault(row.idempotency_key, []).append(row.id)
    for told in bursts.told:
        found = stored.pop(told.key, [])
        if told.status == 202:
            assert found == [told.id], told
        elif told.status is None:
            assert len(found) <= 1, told
        else:
            assert told.status == 503, told
            assert "longer than" in told.document["detail"], told
            assert not found, told
    assert not stored, "stored under a key that nobody used"


@pytest.mark.parametrize("count", [300, pytest.param(3000, marks=pytest.mark.chaos)])
def test_f22_nobody_waits_for_the_next_request(chaos: Chaos, seed: int, count: int) -> None:
    """Nothing is slow here: a request that times out was forgotten by everybody. A burst in two hundred was."""
    chance = random.Random(seed)
    chaos.up(workers=1, REQUEST_TIMEOUT=f"{REQUEST_TIMEOUT * 1000:.0f}")
    bursts = _bursts(chaos)

    async def run() -> None:
        await bursts.send([chance.randint(2, 6) for _ in range(count)], chance)
        await bursts.close()

    with chaos.bound("F22", 30 + count / 20) as bound:
        asyncio.run(run())
        assert {told.status for told in bursts.told} == {202}
        chaos.assert_exactly_once([told.id for told in bursts.told], bound)
        _assert_told_the_truth(chaos, bursts)


def test_f22_callers_leave_and_their_time_ends_at_the_database(chaos: Chaos, seed: int) -> None:
    chance = random.Random(seed)
    chaos.up(workers=1, REQUEST_TIMEOUT=f"{REQUEST_TIMEOUT * 1000:.0f}")
    bursts = _bursts(chaos)
    done = threading.Event()

    def lock_now_and_then() -> None:
        """Longer than some requests may take, and shorter than others."""
        pause = random.Random(seed)
        while not done.wait(pause.uniform(0, 0.4)):
            with psycopg.connect(chaos.postgres.url) as connection:
                connection.execute("LOCK TABLE deliveries")
                done.wait(pause.choice([0.01, 0.1, REQUEST_TIMEOUT, REQUEST_TIMEOUT + 0.3]))

    async def run() -> None:
        begin = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < begin + 15:
            await bursts.send([chance.randint(1, 12)], chance, leaving=0.25)
        await bursts.close()

    with chaos.bound("F22", 90):
        locking = threading.Thread(target=lock_now_and_then)
        locking.start()
        try:
            asyncio.run(run())
        finally:
            done.set()
            locking.join()
        wait_for(lambda: not chaos.query("SELECT 1 FROM jobs WHERE state IN ('pending', 'running')"))
        _assert_told_the_truth(chaos, bursts)
        outcomes = [told.status for told in bursts.told]
        chaos.note(f"{outcomes.count(202)} accepted, {outcomes.count(503)} refused, {outcomes.count(None)} left")
        assert {202, 503, None} == set(outcomes)
