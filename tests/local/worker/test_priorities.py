"""Urgent jobs first: on the queue, after a retry, and when the sweeper finds them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from app.queue.models import Job
from app.queue.outbox import Announcer
from app.queue.records import Records
from app.queue.sweeper import Sweeper

pytestmark = [pytest.mark.local, pytest.mark.timeout(60)]


def waiting(world: Any) -> list[str]:
    return [name.decode() for name in world.redis.lrange(world.queue.rq.key, 0, -1)]


def test_urgent_jobs_go_to_the_front_and_return_there(world: Any) -> None:
    first, urgent, last = (uuid.uuid4() for _ in range(3))
    world.queue.enqueue([first])
    world.queue.enqueue([urgent], urgent=True)
    world.queue.enqueue([last])
    assert waiting(world) == [str(urgent), str(first), str(last)]

    world.redis.lpop(world.queue.rq.key, 2)
    for job_id in (first, urgent):
        world.redis.zadd(world.queue.rq.scheduled_job_registry.key, {str(job_id): 1})
    world.queue.promote()

    assert waiting(world) == [str(urgent), str(last), str(first)]


def test_the_nudge_tells_urgent_from_other_jobs(world: Any, redis_url: str, eventually: Any) -> None:
    ids = [uuid.uuid4() for _ in range(3)]
    announcer = Announcer(redis_url, job_timeout=1)
    world.queue.enqueue(ids[:2])

    announcer.announce(ids[2], world.queue.name, urgent=True)

    eventually(lambda: waiting(world) == [str(ids[2]), str(ids[0]), str(ids[1])])
    announcer.close()


@pytest.mark.flips("queue_urgent_kinds")
@pytest.mark.parametrize("urgent", [(), ("prediction",)])
def test_the_sweeper_puts_urgent_kinds_first(world: Any, urgent: tuple[str, ...]) -> None:
    """As a worker with QUEUE_URGENT_KINDS does."""
    ids = {kind: uuid.uuid4() for kind in ("delivery", "prediction")}
    due = datetime.now(UTC) - timedelta(minutes=5)
    with world.engine.begin() as connection:
        for seconds, (kind, job_id) in enumerate(ids.items()):
            connection.execute(
                insert(Job).values(
                    id=job_id,
                    kind=kind,
                    queue=world.queue.name,
                    subject_id=uuid.uuid4(),
                    max_attempts=3,
                    run_at=due + timedelta(seconds=seconds),
                )
            )

    Sweeper(records=Records(world.engine, {}), wakeups=world.queue, interval=1, urgent=urgent).sweep()

    expected = ["prediction", "delivery"] if urgent else ["delivery", "prediction"]
    assert waiting(world) == [str(ids[kind]) for kind in expected]
