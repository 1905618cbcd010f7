"""The end of a job is told once, whoever comes between: its own worker, RQ's maintenance, an operator, a lost answer.

Ours are protected by the claim in Postgres. A job of somebody else's function that is pushed back after its end runs
twice, and nothing else would notice.
"""

from __future__ import annotations

import itertools
import time
from typing import Any, get_args

import pytest
from redis import Redis
from rq import Queue
from rq.job import Job, JobStatus

from app.queue.runtime import Runtime
from app.queue.worker.books import Books, Fate, Popped, Told
from app.queue.worker.concurrent import ConcurrentWorker
from app.queue.worker.database import DatabaseGate
from app.queue.worker.health import HeartbeatFile
from app.queue.worker.signals import Shutdown

pytestmark = [pytest.mark.local, pytest.mark.timeout(60)]

FATES: tuple[Fate, ...] = get_args(Fate)


@pytest.fixture
def books(world: Any) -> Books:
    return Books(world.redis, world.queue.rq, worker="one", worker_key="rq:worker:one", abandoned_after=70)


@pytest.fixture
def worker(world: Any, tmp_path: Any) -> ConcurrentWorker:
    """Its loop does not run: the test takes its steps."""
    return ConcurrentWorker(
        world.queue.rq,
        name="one",
        quick=world.redis,
        concurrency=2,
        gate=DatabaseGate(world.engine),
        heartbeat_file=HeartbeatFile(str(tmp_path / "health")),
        shutdown=Shutdown(),
        runtime=Runtime(engine=world.engine, handlers={}, worker="one", backoff_base=1, backoff_cap=1),
        stop_timeout=1,
    )


def told(popped: Popped, fate: Fate) -> Told:
    error = "no luck" if fate == "failed" else ""
    return Told(popped=popped, fate=fate, error=error, seconds=30.0, ended_at=popped.at + 1)


def taken(world: Any, books: Books) -> tuple[Job, Popped]:
    """A plain RQ job that this worker has taken."""
    job = world.queue.rq.enqueue("builtins.len", "abc")
    [popped] = books.take(1)
    return job, popped


def seen(world: Any, job: Job) -> dict[str, Any]:
    """What RQ's keys say of a job, but for times."""
    redis, queue = world.redis, world.queue.rq
    fields = redis.hgetall(job.key)
    return {
        "queue": redis.lrange(queue.key, 0, -1),
        "status": fields.get(b"status"),
        "retries": fields.get(b"number_of_retries"),
        "started": redis.zcard(queue.started_job_registry.key),
        "finished": redis.zrange(queue.finished_job_registry.key, 0, -1),
        "failed": redis.zrange(queue.failed_job_registry.key, 0, -1),
        "scheduled": redis.zrange(queue.scheduled_job_registry.key, 0, -1),
        "results": redis.xlen(f"rq:results:{job.id}"),
        "counts": redis.hmget("rq:worker:one", "successful_job_count", "failed_job_count"),
    }


@pytest.mark.parametrize(("first", "second"), list(itertools.product(FATES, FATES)))
def test_of_two_ends_the_first_counts(world: Any, books: Books, first: Fate, second: Fate) -> None:
    """Handed back and then finished, finished and then taken for a stray, told again after a lost answer."""
    job, popped = taken(world, books)
    books.tell([told(popped, first)])
    before = seen(world, job)

    books.tell([told(popped, second)])

    assert seen(world, job) == before


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("retries", [0, 3])
def test_what_rqs_maintenance_gave_up_is_no_longer_this_workers_to_end(
    world: Any, books: Books, fate: Fate, retries: int
) -> None:
    job, popped = taken(world, books)
    world.redis.hset(job.key, "retries_left", retries)
    world.queue.rq.started_job_registry.cleanup(timestamp=time.time() + 1000)
    before = seen(world, job)
    assert before["queue"] == ([job.id.encode()] if retries else [])

    books.tell([told(popped, fate)])

    assert seen(world, job) == before


@pytest.mark.parametrize("fate", FATES)
def test_an_older_execution_does_not_end_the_one_that_runs_now(world: Any, books: Books, fate: Fate) -> None:
    """RQ gave the job up, it was put on the queue again, and a second worker has it."""
    job, first = taken(world, books)
    world.queue.rq.started_job_registry.cleanup(timestamp=time.time() + 1000)
    world.queue.rq.failed_job_registry.requeue(job.id)
    second = Books(world.redis, world.queue.rq, worker="two", worker_key="rq:worker:two", abandoned_after=70)
    [again] = second.take(1)
    before = seen(world, job)

    books.tell([told(first, fate)])
    assert seen(world, job) == before

    second.tell([told(again, "finished")])
    assert job.get_status() == JobStatus.FINISHED


def test_a_long_job_is_taken_although_its_workers_own_list_has_expired(world: Any, books: Books) -> None:
    job, popped = taken(world, books)
    world.redis.delete("rq:worker:one:executions")

    books.tell([told(popped, "finished")])

    assert job.get_status() == JobStatus.FINISHED


def test_an_end_told_again_still_names_what_depends_on_it(world: Any, books: Books) -> None:
    """The answer to the first telling was lost: who was to be released by it would wait for ever."""
    queue: Queue = world.queue.rq
    first = queue.enqueue("builtins.len", "abc")
    queue.enqueue("builtins.len", "abcd", depends_on=first)
    [popped] = books.take(1)
    assert books.tell([told(popped, "finished")]) == [first.id]

    assert books.tell([told(popped, "finished")]) == [first.id]
    assert books.tell([told(popped, "queued")]) == []


def test_a_heartbeat_after_the_end_brings_nothing_back(world: Any, worker: ConcurrentWorker) -> None:
    job, popped = taken(world, worker._taking)
    worker._taking.tell([told(popped, "finished")])
    before = seen(world, job)

    with world.redis.pipeline() as pipeline:
        worker._execution(popped).heartbeat(world.queue.rq.started_job_registry, 70, pipeline)
        pipeline.execute()

    assert seen(world, job) == before
    assert world.redis.zcard(f"rq:executions:{job.id}") == 0


def test_a_job_that_ends_while_the_worker_looks_for_strays_does_not_run_again(
    world: Any, worker: ConcurrentWorker, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis is asked, the job ends and is forgotten here, and then the answer is compared with what is under way."""
    job = world.queue.rq.enqueue("time.sleep", 0.2)
    asked = Redis.smembers

    def slow(self: Redis, key: str) -> Any:
        answer = asked(self, key)
        assert answer, "it was told before Redis was asked"
        eventually(lambda: not worker._pipeline.under_way)
        return answer

    worker._pipeline.put(worker._taking.take(1))
    with monkeypatch.context() as patch:
        patch.setattr(Redis, "smembers", slow)
        worker._reclaim()

    assert world.redis.llen(world.queue.rq.key) == 0
    assert job.get_status() == JobStatus.FINISHED


def test_what_ends_while_it_is_handed_back_is_not_on_the_queue_too(
    world: Any, worker: ConcurrentWorker, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is told to stop at once; its jobs are listed, one of them ends, and then all of them go back."""
    job = world.queue.rq.enqueue("time.sleep", 0.2)
    worker._pipeline.put(worker._taking.take(1))
    give_back = worker._give_back

    def late(jobs: Any) -> None:
        eventually(lambda: not worker._pipeline.under_way)
        give_back(jobs)

    monkeypatch.setattr(worker, "_give_back", late)
    worker.hand_back()

    assert world.redis.llen(world.queue.rq.key) == 0
    assert job.get_status() == JobStatus.FINISHED
