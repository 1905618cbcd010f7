"""What RQ's own tools read of jobs that this worker ran, ours and other people's, and what they can do with them."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from rq import Callback, Queue, Repeat, Retry
from rq.job import Job, JobStatus
from rq.results import Result
from rq.worker import Worker

from app.queue.wakeups import Wakeups

pytestmark = [pytest.mark.local, pytest.mark.timeout(60)]

THEIRS = """
import time
from rq import Retry, get_current_job

def add(a, b):
    return a + b

def who():
    return get_current_job().id

async def later():
    return "later"

def fails():
    raise ValueError("no luck")

def fails_once(path):
    with open(path, "a") as file:
        file.write("x")
    if open(path).read() == "x":
        raise ValueError("first time")
    return "second time"

def asks_again(path):
    with open(path, "a") as file:
        file.write("x")
    return Retry(max=3) if open(path).read() != "xxx" else "third time"

def count(path):
    with open(path, "a") as file:
        file.write("x")

def told(job, connection, result, *args, **kwargs):
    connection.set("told", str(result))

def leaves():
    raise SystemExit(3)

def gives_no_json():
    return {(1, 2): 3}

def nap(seconds):
    time.sleep(seconds)
    return "awake"
"""


@pytest.fixture
def started(world: Any, workers: Any, tmp_path: Path) -> Any:
    """A worker that can import `theirs`."""
    (tmp_path / "theirs.py").write_text(THEIRS)
    return workers.start(PYTHONPATH=f"{tmp_path}:{Path.cwd()}")


def ended(world: Any, eventually: Any, job: Job, status: JobStatus = JobStatus.FINISHED) -> Job:
    eventually(lambda: job.get_status() == status)
    job.refresh()
    return job


def test_plain_functions_of_other_people_run_and_their_results_are_kept(
    world: Any, started: Any, eventually: Any
) -> None:
    queue: Queue = world.queue.rq
    summed = queue.enqueue("theirs.add", 2, b=3, result_ttl=100)
    named = queue.enqueue("theirs.who")
    awaited = queue.enqueue("theirs.later")
    gone = queue.enqueue("theirs.add", 1, 1, result_ttl=0)

    done = ended(world, eventually, summed)

    assert done.return_value() == 5
    result = done.latest_result()
    assert result is not None
    assert (result.type, result.worker_name) == (Result.Type.SUCCESSFUL, done.worker_name)
    assert done.started_at is not None
    assert done.ended_at is not None
    assert done.started_at <= done.ended_at
    assert 0 < world.redis.ttl(done.key) <= 100
    assert 0 < world.redis.ttl(Result.get_key(done.id)) <= 100
    assert ended(world, eventually, named).return_value() == named.id
    assert ended(world, eventually, awaited).return_value() == "later"
    eventually(lambda: not Job.exists(gone.id, world.redis))
    eventually(lambda: set(queue.finished_job_registry.get_job_ids(cleanup=False)) == {summed.id, named.id, awaited.id})
    assert queue.started_job_registry.get_job_count(cleanup=False) == 0


def test_what_needs_more_of_rq_gets_it(world: Any, started: Any, eventually: Any, tmp_path: Path) -> None:
    queue: Queue = world.queue.rq
    queue.enqueue("theirs.add", 4, 4, on_success=Callback("theirs.told"))
    first = queue.enqueue("theirs.nap", 0.3)
    dependent = queue.enqueue("theirs.add", 1, 2, depends_on=first)
    queue.enqueue("theirs.count", str(tmp_path / "repeat"), repeat=Repeat(times=1, interval=0))
    retried = queue.enqueue("theirs.fails_once", str(tmp_path / "once"), retry=Retry(max=2))
    asked = queue.enqueue("theirs.asks_again", str(tmp_path / "again"))

    eventually(lambda: world.redis.get("told") == b"8")
    assert ended(world, eventually, dependent).return_value() == 3
    assert ended(world, eventually, retried).return_value() == "second time"
    assert ended(world, eventually, asked).return_value() == "third time"
    eventually(lambda: (tmp_path / "repeat").read_text() == "xx")
    assert asked.number_of_retries == 2


def test_a_failed_job_shows_why_and_can_be_requeued(world: Any, started: Any, eventually: Any) -> None:
    queue: Queue = world.queue.rq
    failed = ended(world, eventually, queue.enqueue("theirs.fails"), JobStatus.FAILED)
    left = ended(world, eventually, queue.enqueue("theirs.leaves"), JobStatus.FAILED)

    result = failed.latest_result()
    assert result is not None
    assert "ValueError: no luck" in (result.exc_string or "")
    assert set(queue.failed_job_registry.get_job_ids(cleanup=False)) == {failed.id, left.id}
    queue.failed_job_registry.requeue(failed.id)
    eventually(lambda: len(failed.results()) == 2)
    assert ended(world, eventually, failed, JobStatus.FAILED).id == failed.id


def test_an_entry_that_cannot_be_read_fails_and_holds_up_nothing(world: Any, started: Any, eventually: Any) -> None:
    queue: Queue = world.queue.rq
    for job_id, data in (("junk", b"\x00\x01"), ("pickled", b"\x80\x04N.")):
        world.redis.hset(Job.key_for(job_id), mapping={"data": data, "status": "queued", "origin": queue.name})
        world.redis.rpush(queue.key, job_id)
    world.redis.rpush(queue.key, "without-data")
    good = queue.enqueue("theirs.add", 1, 1)

    assert ended(world, eventually, good).return_value() == 2

    eventually(lambda: set(queue.failed_job_registry.get_job_ids(cleanup=False)) == {"junk", "pickled"})
    assert started.process.poll() is None


def test_what_others_return_or_write_is_their_jobs_failure_and_no_fault_of_the_worker(
    world: Any, started: Any, eventually: Any
) -> None:
    """Each of these held up everybody's ends, or made the job run for ever."""
    queue: Queue = world.queue.rq
    unstorable = queue.enqueue("theirs.gives_no_json")
    kept = queue.enqueue("theirs.nap", 0.2)
    world.redis.hset(kept.key, mapping={"result_ttl": "soon", "timeout": "1e999"})
    undated = queue.enqueue("theirs.fails")
    world.redis.hset(undated.key, "created_at", "some day")
    alone = queue.enqueue("theirs.nap", 0.3, result_ttl=0)
    queue.enqueue("theirs.add", 1, 2, depends_on=alone)
    good = queue.enqueue("theirs.add", 1, 1)

    assert ended(world, eventually, good).return_value() == 2
    ended(world, eventually, unstorable)
    eventually(lambda: world.redis.hget(kept.key, "status") == b"failed")
    eventually(lambda: world.redis.hget(undated.key, "status") == b"failed")
    assert started.process.poll() is None
    assert not [line for line in started.log() if line["level"] == "critical"]


def test_the_worker_shows_its_counts_and_what_it_is_at(world: Any, started: Any, eventually: Any) -> None:
    queue: Queue = world.queue.rq
    queue.enqueue("theirs.fails")
    for _ in range(3):
        queue.enqueue("theirs.add", 1, 1)
    napping = queue.enqueue("theirs.nap", 1.5)
    eventually(lambda: napping.get_status() == JobStatus.STARTED)

    def worker() -> Worker:
        [found] = Worker.all(connection=world.redis)
        return found

    eventually(lambda: worker().get_state() == "busy")
    eventually(lambda: [at.job_id for at in worker().get_current_executions()] == [napping.id])
    ended(world, eventually, napping)
    eventually(lambda: worker().get_state() == "idle")
    assert (worker().successful_job_count, worker().failed_job_count) == (4, 1)
    assert worker().total_working_time >= 1.5
    assert worker().get_current_executions() == []


def test_an_id_that_was_on_the_queue_twice_ends_as_its_one_execution_did(
    world: Any, workers: Any, receiver: Any, answers: Any, eventually: Any
) -> None:
    delivery_id, job_id = world.add(receiver.on("/slow", answers(400, after=1.0)), push=False)
    world.queue.enqueue([job_id])
    world.redis.rpush(world.queue.rq.key, str(job_id))
    workers.start()

    world.settled(delivery_id, "failed")

    job = Job.fetch(str(job_id), connection=world.redis, serializer="json")
    ended(world, eventually, job, JobStatus.FAILED)
    assert world.queue.rq.started_job_registry.get_job_count(cleanup=False) == 0
    assert len(receiver.requests) == 1


def test_what_redis_believes_to_run_here_and_does_not_goes_back(world: Any, workers: Any, receiver: Any) -> None:
    """The answer to a pop is lost with its connection: the job is registered, and nobody works on it."""
    worker = workers.start()
    delivery_id, job_id = world.add(receiver.url, push=False)
    [name] = [worker.name for worker in Worker.all(connection=world.redis)]
    world.queue.enqueue([job_id])
    execution = uuid.uuid4().hex
    with world.redis.pipeline() as pipeline:
        pipeline.lrem(world.queue.rq.key, 1, str(job_id))
        pipeline.zadd(world.queue.rq.started_job_registry.key, {f"{job_id}:{execution}": time.time() + 60})
        pipeline.sadd(f"rq:worker:{name}:executions", f"{job_id}:{execution}")
        pipeline.execute()

    world.settled(delivery_id, "delivered", timeout=25)

    assert worker.process.poll() is None


def test_a_job_that_is_put_on_the_queue_again_begins_anew(world: Any) -> None:
    queue: Wakeups = world.queue
    job_id = uuid.uuid4()
    queue.enqueue([job_id])
    job = Job.fetch(str(job_id), connection=world.redis, serializer="json")
    assert (job.func_name, job.args, job.origin) == ("app.jobs.execute.execute", [str(job_id)], queue.name)
    assert (job.timeout, job.result_ttl, job.failure_ttl) == (5, 24 * 3600, 7 * 24 * 3600)
    assert job.retries_left == 1000
    assert job.get_status() == JobStatus.QUEUED
    assert job.enqueued_at is not None
    assert queue.rq in Queue.all(connection=world.redis)
    world.redis.expire(job.key, 60)
    world.redis.hset(job.key, "number_of_retries", 7)

    queue.enqueue([job_id])

    assert world.redis.ttl(job.key) == -1
    assert world.redis.hget(job.key, "number_of_retries") is None
