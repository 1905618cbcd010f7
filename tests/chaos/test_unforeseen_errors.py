"""An error that nobody foresaw, in each thread of a worker and in the API's (F25)."""

from __future__ import annotations

import pytest
from rig.chaos import QUEUE_KEY, Chaos
from rig.waiting import wait_for

EXIT_FAILED = 70
JOBS = 30

STAGES = {
    "claim": "app.queue.attempts:Attempts.claim:before",
    "claimed": "app.queue.leases:Leases.claim:after",
    "run": "app.queue.attempts:Attempts.run:before",
    "store": "app.queue.attempts:Attempts.store:before",
    "stored": "app.queue.attempts:Attempts.store:after",
    "tell": "app.queue.pipeline:Pipeline._acknowledge:before",
    "loop": "app.queue.worker.loop:Worker._turn:before",
    "taken": "app.queue.wakeups:Wakeups.dequeue:after",
    "heartbeat": "app.queue.worker.loop:Worker._send_heartbeats:before",
    "upkeep": "app.queue.sweeper:Sweeper.sweep:before",
}
EVERY_DAY = {"claim", "run", "tell"}


@pytest.mark.parametrize(
    "where", [pytest.param(name, marks=[] if name in EVERY_DAY else [pytest.mark.chaos]) for name in STAGES]
)
def test_f25_an_unforeseen_error_ends_the_worker_and_another_finishes_its_jobs(chaos: Chaos, where: str) -> None:
    """It used to end a thread and leave the rest: slots that were never free again, with green health."""
    chaos.up(workers=0)
    accepted = chaos.client.deliver_many(JOBS, chaos.receiver.url)
    with chaos.valkey.client() as redis:
        wait_for(lambda: redis.llen(QUEUE_KEY) == JOBS, what="announced jobs")

    # Well within the lease of 30 s: what it held was handed back.
    with chaos.bound("F25", 25) as bound:
        broken = chaos.apps.worker(lives=False, QUEUE_CONCURRENCY="10", CHAOS_FAIL=STAGES[where])
        assert broken.wait(timeout=bound.left) == EXIT_FAILED
        chaos.apps.worker(QUEUE_CONCURRENCY="10")
        chaos.assert_exactly_once(accepted, bound)
        chaos.note(where)

    assert any(line.get("level") == "critical" and "exception" in line for line in broken.log())


def test_f25_an_unforeseen_error_in_the_thread_that_announces_ends_the_api(chaos: Chaos) -> None:
    """Its requests are answered first; what was not announced is found by the sweeper."""
    chaos.up(workers=1, CHAOS_FAIL="app.queue.outbox:Announcer._push:before")
    [broken] = chaos.apps.running("api")

    with chaos.bound("F25", 30) as bound:
        accepted = [chaos.client.deliver(chaos.receiver.url)]
        assert broken.wait(timeout=bound.left) == EXIT_FAILED
        chaos.apps.api()
        accepted += chaos.client.deliver_many(5, chaos.receiver.url)
        chaos.assert_exactly_once(accepted, bound)
        chaos.note("nudge")
