"""The statements that decide who may act on a job, and the sweep that finds forgotten ones."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis, RedisError
from sqlalchemy import func, insert, select, text, update

from app.db.models import Job
from app.jobs import claim
from app.jobs.claim import Claim, LeaseLostError, NotYet
from app.jobs.execute import Runtime
from app.jobs.outbox import new_job
from app.jobs.queue import JobQueue
from app.jobs.sweeper import LOCK_KEY, Sweeper
from app.worker.concurrent import EXIT_STUCK, ConcurrentWorker
from app.worker.database import DatabaseGate
from app.worker.health import HeartbeatFile
from app.worker.signals import Shutdown

pytestmark = [pytest.mark.local, pytest.mark.timeout(60)]

LEASES = {"delivery": 30.0}
URL = "https://example.com/"


def claim_job(world: Any, job_id: uuid.UUID, worker: str = "w", leases: dict[str, float] = LEASES) -> Any:
    with world.engine.begin() as connection:
        return claim.claim(connection, job_id=job_id, worker=worker, leases=leases)


def set_job(world: Any, job_id: uuid.UUID, **values: Any) -> None:
    with world.engine.begin() as connection:
        connection.execute(update(Job).where(Job.id == job_id).values(**values))


def test_one_of_many_claims_wins(world: Any) -> None:
    _, job_id = world.add(URL, push=False)
    barrier = threading.Barrier(12)

    def attempt(n: int) -> Any:
        barrier.wait()
        return claim_job(world, job_id, worker=f"w{n}")

    with ThreadPoolExecutor(12) as pool:
        won = [result for result in pool.map(attempt, range(12)) if result is not None]

    assert len(won) == 1
    assert (won[0].attempt, won[0].lease) == (1, 30.0)
    job = world.job(job_id)
    assert (job.state, job.claimed_by) == ("running", won[0].worker)
    assert timedelta(seconds=25) < job.lease_until - datetime.now(UTC) <= timedelta(seconds=30)


def test_what_cannot_be_claimed(world: Any) -> None:
    _, job_id = world.add(URL, push=False)
    assert claim_job(world, uuid.uuid4()) is None
    assert claim_job(world, job_id, leases={"prediction": 5.0}) is None
    set_job(world, job_id, run_at=datetime.now(UTC) + timedelta(seconds=50))
    not_yet = claim_job(world, job_id)
    assert isinstance(not_yet, NotYet)
    assert 45 < not_yet.seconds <= 50
    for state in ("done", "dead"):
        set_job(world, job_id, state=state, run_at=func.now())
        assert claim_job(world, job_id) is None
    assert world.job(job_id).attempt == 0


def test_an_ended_lease_can_be_claimed_by_another_and_fences_the_first(world: Any) -> None:
    _, job_id = world.add(URL, push=False)
    first = claim_job(world, job_id, worker="first")
    set_job(world, job_id, lease_until=datetime.now(UTC) - timedelta(seconds=1))
    second = claim_job(world, job_id, worker="second")
    assert (first.attempt, second.attempt) == (1, 2)

    for finish in (
        lambda connection: claim.complete(connection, first),
        lambda connection: claim.retry_in(connection, first, seconds=1, error="x"),
        lambda connection: claim.bury(connection, first, error="x"),
        lambda connection: claim.release(connection, first),
    ):
        with pytest.raises(LeaseLostError), world.engine.begin() as connection:
            finish(connection)
    with world.engine.begin() as connection:
        claim.complete(connection, second)

    assert world.job(job_id).state == "done"
    assert world.job(job_id).finished_at is not None


def test_a_released_job_keeps_its_attempts_and_fences_the_one_that_released_it(world: Any) -> None:
    _, job_id = world.add(URL, push=False, max_attempts=1)
    first = claim_job(world, job_id, worker="first")
    with world.engine.begin() as connection:
        claim.release(connection, first)
    second = claim_job(world, job_id, worker="second")
    assert isinstance(second, Claim)
    assert second.attempt == first.attempt == 1

    with pytest.raises(LeaseLostError), world.engine.begin() as connection:
        claim.complete(connection, first)


def sweeper(world: Any, *, interval: float = 0.001, handlers: dict[str, Any] | None = None) -> Sweeper:
    return Sweeper(engine=world.engine, queue=world.queue, handlers=handlers or {}, interval=interval)


def add_many(world: Any, count: int, **values: Any) -> list[uuid.UUID]:
    rows = [
        {
            "id": uuid.uuid4(),
            "kind": "delivery",
            "queue": "webhook-processor",
            "subject_id": uuid.uuid4(),
            "max_attempts": 3,
            "run_at": datetime.now(UTC) - timedelta(minutes=5),
            **values,
        }
        for _ in range(count)
    ]
    with world.engine.begin() as connection:
        connection.execute(insert(Job), rows)
    return [row["id"] for row in rows]


def test_a_long_backlog_is_put_on_the_queue_once(world: Any) -> None:
    ids = add_many(world, 1100)

    assert sweeper(world).sweep().requeued == 1100
    assert sweeper(world).sweep().requeued == 0

    assert world.redis.llen(world.queue.rq.key) == 1100
    assert world.queue.waiting_ids() == {str(job_id) for job_id in ids}
    with world.engine.connect() as connection:
        assert connection.scalar(select(func.count()).where(Job.enqueued_at.is_(None))) == 0


def test_what_is_on_the_queue_is_marked_and_not_pushed_again(world: Any) -> None:
    ids = add_many(world, 20)
    world.queue.push(ids[:10])
    world.redis.lmove(world.queue.rq.key, world.queue.rq.intermediate_queue_key)

    assert sweeper(world).sweep().requeued == 10

    assert world.redis.llen(world.queue.rq.key) == 19
    with world.engine.connect() as connection:
        assert connection.scalar(select(func.count()).where(Job.enqueued_at.is_(None))) == 0


def test_announced_jobs_are_compared_only_when_some_are_missing(world: Any) -> None:
    ids = add_many(world, 10, enqueued_at=datetime.now(UTC) - timedelta(minutes=5))
    world.queue.push(ids)
    assert sweeper(world).sweep().requeued == 0

    world.redis.lrem(world.queue.rq.key, 1, str(ids[3]))

    assert sweeper(world).sweep().requeued == 1
    assert world.queue.waiting_ids() == {str(job_id) for job_id in ids}


def test_what_is_fresh_waiting_or_of_another_queue_is_left_alone(world: Any) -> None:
    now = datetime.now(UTC)
    add_many(world, 1, run_at=now)
    add_many(world, 1, run_at=now + timedelta(minutes=1))
    add_many(world, 1, queue="other")
    add_many(world, 1, state="done")
    add_many(world, 1, enqueued_at=now)

    assert sweeper(world, interval=60).sweep().requeued == 0


def test_an_ended_lease_is_taken_back_at_once_whatever_rq_believes(world: Any) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    [job_id] = add_many(world, 1, state="running", attempt=1, lease_until=past, claimed_by="gone")
    [last] = add_many(world, 1, state="running", attempt=3, lease_until=past, claimed_by="gone")
    world.redis.zadd(world.queue.rq.started_job_registry.key, {f"{job_id}:x": 9_999_999_999})

    swept = sweeper(world, interval=60).sweep()

    assert (swept.requeued, swept.buried) == (1, 1)
    assert world.queue.waiting_ids() == {str(job_id)}
    assert (world.job(job_id).state, world.job(last).state) == ("pending", "dead")
    assert claim_job(world, job_id).attempt == 2


def test_one_sweeps_at_a_time(world: Any) -> None:
    add_many(world, 1)
    with world.engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
        assert sweeper(world).sweep().requeued == 0

    assert sweeper(world).sweep().requeued == 1


def test_a_sweep_without_redis_changes_nothing(world: Any) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    [job_id] = add_many(world, 1, state="running", attempt=1, lease_until=past, claimed_by="gone")
    away = JobQueue(Redis(port=9, retry=None), name="webhook-processor", job_timeout=1)

    with pytest.raises(RedisError):
        Sweeper(engine=world.engine, queue=away, handlers={}, interval=1).sweep()

    assert world.job(job_id).state == "running"


def test_a_job_for_later_is_not_announced_before_its_time(world: Any) -> None:
    job_id = uuid.uuid4()
    run_at = datetime.now(UTC) + timedelta(hours=1)
    with world.engine.begin() as connection:
        statement = new_job(
            job_id=job_id,
            kind="delivery",
            queue="webhook-processor",
            subject_id=uuid.uuid4(),
            max_attempts=1,
            correlation_id=None,
            run_at=run_at,
        )
        connection.execute(statement)

    assert sweeper(world).sweep().requeued == 0
    assert world.job(job_id).run_at == run_at


def runtime(world: Any, handler: Any) -> Runtime:
    return Runtime(engine=world.engine, handlers={"delivery": handler}, worker="w", backoff_base=0.01, backoff_cap=0.01)


class Faulty:
    """A handler with a fault in it."""

    lease = 30.0

    def begin(self, connection: Any, claimed: Claim) -> object:
        return object()

    def run(self, work: Any, claimed: Claim) -> Any:
        raise ZeroDivisionError

    def store(self, connection: Any, claimed: Claim, outcome: Any) -> None:
        pass


def test_a_fault_in_a_handler_is_a_counted_attempt(world: Any) -> None:
    _, job_id = world.add(URL, push=False, max_attempts=2)
    made = runtime(world, Faulty())

    retry = made.execute(job_id)

    assert retry is not None
    assert retry.seconds <= 0.01
    assert (world.job(job_id).state, world.job(job_id).last_error) == ("pending", "internal error")
    assert made.held == {}


def test_a_deleted_delivery_ends_its_job(world: Any) -> None:
    [job_id] = add_many(world, 1)
    handler = Faulty()
    handler.begin = lambda connection, claimed: None  # type: ignore[method-assign]

    with pytest.raises(Exception, match="what the job was for is gone"):
        runtime(world, handler).execute(job_id)

    assert world.job(job_id).state == "dead"


def test_a_job_far_beyond_its_lease_is_stuck(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, job_id = world.add(URL, push=False)
    claimed = claim_job(world, job_id)
    made = runtime(world, Faulty())
    made.held[job_id] = (claimed, 0.0)
    monkeypatch.setattr("app.jobs.execute.time.monotonic", lambda: 89.0)
    assert made.stuck() == []
    monkeypatch.setattr("app.jobs.execute.time.monotonic", lambda: 91.0)
    assert made.stuck() == [str(job_id)]


def test_a_worker_with_a_stuck_job_ends_with_an_error(
    world: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutdown = Shutdown()
    made = runtime(world, Faulty())
    monkeypatch.setattr(made, "stuck", lambda: ["one"])
    worker = ConcurrentWorker(
        world.queue.rq,
        name="stuck",
        quick=world.redis,
        concurrency=1,
        gate=DatabaseGate(world.engine),
        heartbeat_file=HeartbeatFile(str(tmp_path / "health")),
        shutdown=shutdown,
        runtime=made,
        stop_timeout=1,
    )

    assert worker.serve() == EXIT_STUCK
    assert shutdown.requested.is_set()
