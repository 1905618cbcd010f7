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

from app.queue import job as jobs
from app.queue.job import Acknowledgement
from app.queue.wakeups import Wakeups
from app.queue.worker.loop import Worker

pytestmark = [pytest.mark.local, pytest.mark.timeout(60)]

ENDS: tuple[Acknowledgement, ...] = get_args(Acknowledgement)


def of_worker(world: Any, name: str) -> Wakeups:
    return Wakeups(world.redis, name=world.queue.name, job_timeout=5, worker=name)


@pytest.fixture
def wakeups(world: Any) -> Wakeups:
    return of_worker(world, "one")


@pytest.fixture
def worker(make_worker: Any) -> Worker:
    """Its loop does not run: the test takes its steps."""
    made: Worker = make_worker("one", concurrency=2)
    return made


def acknowledge(wakeups: Wakeups, taken: jobs.Job, end: Acknowledgement) -> list[str]:
    taken.acknowledgement, taken.error = end, "no luck" if end == "failed" else ""
    taken.wait, taken.ended_at = 30.0, taken.dequeued_at + 1
    return wakeups.acknowledge([taken])


def dequeued(world: Any, wakeups: Wakeups) -> tuple[Job, jobs.Job]:
    """A plain RQ job that this worker has taken."""
    job = world.queue.rq.enqueue("builtins.len", "abc")
    [taken] = wakeups.dequeue(1)
    return job, taken


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


@pytest.mark.parametrize(("first", "second"), list(itertools.product(ENDS, ENDS)))
def test_of_two_ends_the_first_counts(
    world: Any, wakeups: Wakeups, first: Acknowledgement, second: Acknowledgement
) -> None:
    """Handed back and then finished, finished and then taken for a stray, told again after a lost answer."""
    job, taken = dequeued(world, wakeups)
    acknowledge(wakeups, taken, first)
    before = seen(world, job)

    acknowledge(wakeups, taken, second)

    assert seen(world, job) == before


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("retries", [0, 3])
def test_what_rqs_maintenance_gave_up_is_no_longer_this_workers_to_end(
    world: Any, wakeups: Wakeups, end: Acknowledgement, retries: int
) -> None:
    job, taken = dequeued(world, wakeups)
    world.redis.hset(job.key, "retries_left", retries)
    world.queue.rq.started_job_registry.cleanup(timestamp=time.time() + 1000)
    before = seen(world, job)
    assert before["queue"] == ([job.id.encode()] if retries else [])

    acknowledge(wakeups, taken, end)

    assert seen(world, job) == before


@pytest.mark.parametrize("end", ENDS)
def test_an_older_execution_does_not_end_the_one_that_runs_now(
    world: Any, wakeups: Wakeups, end: Acknowledgement
) -> None:
    """RQ gave the job up, it was put on the queue again, and a second worker has it."""
    job, first = dequeued(world, wakeups)
    world.queue.rq.started_job_registry.cleanup(timestamp=time.time() + 1000)
    world.queue.rq.failed_job_registry.requeue(job.id)
    second = of_worker(world, "two")
    [again] = second.dequeue(1)
    before = seen(world, job)

    acknowledge(wakeups, first, end)
    assert seen(world, job) == before

    acknowledge(second, again, "finished")
    assert job.get_status() == JobStatus.FINISHED


def test_a_long_job_is_taken_although_its_workers_own_list_has_expired(world: Any, wakeups: Wakeups) -> None:
    job, taken = dequeued(world, wakeups)
    world.redis.delete("rq:worker:one:executions")

    acknowledge(wakeups, taken, "finished")

    assert job.get_status() == JobStatus.FINISHED


def test_an_end_told_again_still_names_what_depends_on_it(world: Any, wakeups: Wakeups) -> None:
    """The answer to the first telling was lost: who was to be released by it would wait for ever."""
    queue: Queue = world.queue.rq
    first = queue.enqueue("builtins.len", "abc")
    queue.enqueue("builtins.len", "abcd", depends_on=first)
    [taken] = wakeups.dequeue(1)
    assert acknowledge(wakeups, taken, "finished") == [first.id]

    assert acknowledge(wakeups, taken, "finished") == [first.id]
    assert acknowledge(wakeups, taken, "queued") == []


def test_a_heartbeat_after_the_end_brings_nothing_back(world: Any, worker: Worker) -> None:
    job, taken = dequeued(world, worker._wakeups)
    acknowledge(worker._wakeups, taken, "finished")
    before = seen(world, job)

    with world.redis.pipeline() as pipeline:
        worker._rq.execution_of(taken).heartbeat(world.queue.rq.started_job_registry, 70, pipeline)
        pipeline.execute()

    assert seen(world, job) == before
    assert world.redis.zcard(f"rq:executions:{job.id}") == 0


def test_a_job_that_ends_while_the_worker_looks_for_strays_does_not_run_again(
    world: Any, worker: Worker, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis is asked, the job ends and is forgotten here, and then the answer is compared with what is under way."""
    job = world.queue.rq.enqueue("time.sleep", 0.2)
    asked = Redis.smembers

    def slow(self: Redis, key: str) -> Any:
        answer = asked(self, key)
        assert answer, "it was told before Redis was asked"
        eventually(lambda: not worker._pipeline.under_way)
        return answer

    worker._pipeline.put(worker._wakeups.dequeue(1))
    with monkeypatch.context() as patch:
        patch.setattr(Redis, "smembers", slow)
        worker._put_back_strays()

    assert world.redis.llen(world.queue.rq.key) == 0
    assert job.get_status() == JobStatus.FINISHED


def test_what_ends_while_it_is_handed_back_is_not_on_the_queue_too(
    world: Any, worker: Worker, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is told to stop at once; its jobs are listed, one of them ends, and then all of them go back."""
    job = world.queue.rq.enqueue("time.sleep", 0.2)
    worker._pipeline.put(worker._wakeups.dequeue(1))
    release = worker._wakeups.release

    def late(jobs: Any) -> None:
        eventually(lambda: not worker._pipeline.under_way)
        release(jobs)

    monkeypatch.setattr(worker._wakeups, "release", late)
    worker.release()

    assert world.redis.llen(world.queue.rq.key) == 0
    assert job.get_status() == JobStatus.FINISHED
