"""What RQ's own tools see, concurrency, and what is kept in Redis."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from rq import Queue
from rq.executions import WORKER_EXECUTIONS_KEY_TEMPLATE, Execution
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job
from rq.registry import StartedJobRegistry
from rq.results import Result
from rq.worker import BaseWorker, Worker

from app.queue.connections import UnsuitableServerError, check_server
from app.queue.worker.rq_worker import RqWorker

pytestmark = [pytest.mark.local, pytest.mark.timeout(60)]


def rq_info(url: str) -> str:
    program = Path(sys.executable).with_name("rq")
    environ = {"PATH": os.environ["PATH"]}
    command = [str(program), "info", "--url", url, "--raw"]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=20).stdout


@pytest.mark.flips("queue_concurrency")
def test_jobs_run_at_once_up_to_the_limit_and_rq_tells_the_truth(
    world: Any, workers: Any, receiver: Any, answers: Any, eventually: Any, redis_url: str
) -> None:
    patient = {"DELIVERY_TIMEOUT": "40000", "QUEUE_JOB_TIMEOUT": "50000", "QUEUE_LEASE": "50000"}
    worker = workers.start(QUEUE_CONCURRENCY="4", **patient)
    looked = threading.Event()
    url = receiver.on("/slow", lambda handler, n: answers(200)(handler, n) if looked.wait(30) else None)
    for _ in range(6):
        world.add(url)
    eventually(lambda: receiver.most_at_once == 4)

    [seen] = Worker.all(connection=world.redis)
    assert seen.pid == worker.pid
    assert seen.get_state() == "busy"
    assert seen.current_execution_count == 4
    assert len(seen.get_current_executions()) == 4
    assert world.queue.rq.started_job_registry.get_job_count(cleanup=False) == 4
    assert world.queue.rq.count == 2
    info = rq_info(redis_url)
    assert "queue webhook-processor 2" in info
    assert f"worker {seen.name}" in info
    looked.set()

    eventually(lambda: world.count("delivered") == 6)
    eventually(lambda: world.queue.rq.finished_job_registry.get_job_count(cleanup=False) == 6)
    eventually(lambda: Worker.all(connection=world.redis)[0].get_state() == "idle")
    [seen] = Worker.all(connection=world.redis)
    assert (seen.successful_job_count, seen.failed_job_count, seen.current_execution_count) == (6, 0, 0)
    assert world.queue.rq.started_job_registry.get_job_count(cleanup=False) == 0
    assert receiver.most_at_once == 4


@pytest.mark.flips("delivery_backoff_max")
def test_a_waiting_retry_is_in_the_scheduled_registry(
    world: Any, workers: Any, receiver: Any, answers: Any, eventually: Any
) -> None:
    workers.start(DELIVERY_BACKOFF="60000", DELIVERY_BACKOFF_MAX="60000")
    _, job_id = world.add(receiver.on("/down", answers(500, headers={"Retry-After": "30"})))

    registry = world.queue.rq.scheduled_job_registry
    eventually(lambda: registry.get_job_ids(cleanup=False) == [str(job_id)])

    eventually(lambda: world.redis.zscore(registry.key, str(job_id)) % 1 != 0)
    due = world.redis.zscore(registry.key, str(job_id))
    assert abs(due - world.job(job_id).run_at.timestamp()) < 0.5
    assert Job.fetch(str(job_id), connection=world.redis, serializer="json").get_status() == "scheduled"
    assert len(receiver.requests) == 1


def test_a_job_pushed_twice_runs_once(world: Any, workers: Any, receiver: Any, eventually: Any) -> None:
    delivery_id, job_id = world.add(receiver.url)
    world.queue.enqueue([job_id])
    world.queue.enqueue([job_id])
    workers.start()
    world.settled(delivery_id, "delivered")

    eventually(lambda: not world.queue.waiting_ids() and not world.queue.running_ids())

    assert len(receiver.requests) == 1
    assert world.job(job_id).attempt == 1


@pytest.mark.flips("queue_remove_on_complete", "queue_remove_on_fail")
def test_the_worker_keeps_only_the_last_jobs(
    world: Any, workers: Any, receiver: Any, answers: Any, eventually: Any
) -> None:
    gone = receiver.on("/gone", answers(410))
    for n in range(12):
        world.add(gone if n % 2 else receiver.url)
    workers.start(QUEUE_REMOVE_ON_COMPLETE="2", QUEUE_REMOVE_ON_FAIL="3")
    eventually(lambda: world.count("delivered") == world.count("failed") == 6)

    queue = world.queue.rq
    eventually(lambda: queue.finished_job_registry.get_job_count(cleanup=False) == 2)
    eventually(lambda: queue.failed_job_registry.get_job_count(cleanup=False) == 3)

    kept = {
        *queue.finished_job_registry.get_job_ids(cleanup=False),
        *queue.failed_job_registry.get_job_ids(cleanup=False),
    }
    assert {key.decode() for key in world.redis.keys("rq:job:*")} == {f"rq:job:{name}" for name in kept}
    assert {key.decode() for key in world.redis.keys("rq:results:*")} == {f"rq:results:{name}" for name in kept}


def test_trimming_removes_the_oldest_and_spares_what_was_queued_again(world: Any) -> None:
    registry = world.queue.rq.failed_job_registry
    names = [f"job-{n:04}" for n in range(1200)]
    with world.redis.pipeline() as pipeline:
        for n, name in enumerate(names):
            pipeline.zadd(registry.key, {name: 1000 + n})
            pipeline.hset(f"rq:job:{name}", "status", "queued" if n == 0 else "failed")
        pipeline.execute()

    removed = world.queue.trim(keep_finished=0, keep_failed=10)

    assert removed == 1190
    assert registry.get_job_ids(cleanup=False) == names[-10:]
    assert world.redis.exists("rq:job:job-0000") == 1
    assert world.redis.exists("rq:job:job-0001") == 0
    assert world.queue.trim(keep_finished=0, keep_failed=0) == 10


def test_a_suspended_queue_is_left_alone(world: Any, workers: Any, receiver: Any, eventually: Any) -> None:
    from rq.suspension import resume, suspend

    suspend(world.redis)
    worker = workers.start()
    delivery_id, _ = world.add(receiver.url)
    eventually(worker.health_file.exists)
    before = worker.health_file.stat().st_mtime
    eventually(lambda: worker.health_file.stat().st_mtime > before)
    assert world.delivery(delivery_id).status == "pending"

    resume(world.redis)

    world.settled(delivery_id, "delivered")


def test_a_remote_shutdown_command_is_a_warm_one(
    world: Any, workers: Any, receiver: Any, answers: Any, eventually: Any
) -> None:
    from rq.command import send_shutdown_command

    worker = workers.start()
    delivery_id, _ = world.add(receiver.on("/slow", answers(200, after=0.5)))
    eventually(lambda: receiver.requests)
    [seen] = Worker.all(connection=world.redis)

    send_shutdown_command(world.redis, seen.name)

    assert worker.wait() == 0
    assert world.delivery(delivery_id).status == "delivered"


def test_the_jobs_run_under_a_plain_rq_worker_too(world: Any, workers: Any, receiver: Any, answers: Any) -> None:
    """A forked process for each job: what a kind of job that computes would need."""
    good, _ = world.add(receiver.url)
    bad, bad_job = world.add(receiver.on("/gone", answers(410)))
    program = str(Path(sys.executable).with_name("rq"))
    command = [program, "worker", "--burst", "--serializer", "json", "--url", workers.environ["REDIS_URL"]]

    done = subprocess.run(
        [*command, "webhook-processor"], env=workers.environ, capture_output=True, text=True, timeout=30
    )

    assert done.returncode == 0, done.stderr
    assert world.delivery(good).status == "delivered"
    assert world.delivery(bad).status == "failed"
    assert world.queue.rq.failed_job_registry.get_job_ids(cleanup=False) == [str(bad_job)]


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ({"redis_version": "6.0.16"}, "Redis 6.0.16 is too old: use Redis 6.2"),
        ({"redis_version": "7.2.4", "cluster_enabled": 1}, "cluster mode"),
    ],
)
def test_an_unsuitable_server_is_refused(info: dict[str, Any], reason: str) -> None:
    class Server:
        def info(self) -> dict[str, Any]:
            return info

    with pytest.raises(UnsuitableServerError, match=reason):
        check_server(Server())  # type: ignore[arg-type]


def test_this_server_is_suitable(world: Any) -> None:
    check_server(world.redis)


def test_the_parts_of_rq_that_we_build_on_exist() -> None:
    """RQ changes them without notice: between 2 and 3 `perform_job` took another signature."""

    def parameters(function: Any) -> list[str]:
        return list(inspect.signature(function).parameters)

    assert parameters(BaseWorker.perform_job) == ["self", "job", "queue", "execution"]
    assert parameters(BaseWorker._finalize_success) == ["self", "job", "queue", "execution", "return_value"]
    assert parameters(BaseWorker._finalize_failure) == ["self", "job", "queue", "execution", "exc_info"]
    assert parameters(BaseWorker.heartbeat) == ["self", "timeout", "pipeline"]
    assert parameters(BaseWorker.set_state) == ["self", "state", "pipeline"]
    assert parameters(BaseWorker.bootstrap)[:2] == ["self", "logging_level"]
    assert parameters(BaseWorker._pubsub_exception_handler) == parameters(RqWorker._pubsub_exception_handler)
    assert parameters(BaseWorker.request_stop_execution) == parameters(RqWorker.request_stop_execution)
    assert parameters(BaseWorker.unsubscribe) == ["self"]
    assert "self.pubsub_thread" in inspect.getsource(BaseWorker.subscribe)
    assert parameters(BaseWorker.procline) == parameters(RqWorker.procline)
    assert parameters(BaseWorker._set_connection) == ["self", "connection"]
    for name in ("teardown", "run_maintenance_tasks", "register_death", "serialize", "get_redis_server_version"):
        assert callable(getattr(BaseWorker, name)), name
    assert isinstance(BaseWorker.should_run_maintenance_tasks, property)
    assert parameters(Queue.enqueue_dependents)[:2] == ["self", "job"]
    assert isinstance(Queue.intermediate_queue_key, property)
    assert parameters(Execution.heartbeat) == ["self", "started_job_registry", "ttl", "pipeline"]
    assert parameters(Execution.__init__) == ["self", "id", "job_id", "connection", "worker_name"]
    assert parameters(Job.restore) == ["self", "raw_data"]
    for name in ("_success_callback_name", "_failure_callback_name", "_stopped_callback_name", "webhooks"):
        assert f"self.{name}" in inspect.getsource(Job.__init__), name
    assert isinstance(Job.has_rate_limit, property)
    assert [kind.value for kind in (Result.Type.SUCCESSFUL, Result.Type.FAILED, Result.Type.RETRIED)] == [1, 2, 4]
    assert WORKER_EXECUTIONS_KEY_TEMPLATE == "rq:worker:{0}:executions"
    # What a lost pop and a lost worker rely on.
    assert "handle_job_failure" in inspect.getsource(IntermediateQueue.cleanup)
    assert "JobStatus.STARTED" in inspect.getsource(StartedJobRegistry.cleanup)
    # The function reads and clears what decides over RQ's own retry.
    assert "self.retries_left" in inspect.getsource(Job.should_retry.fget)  # type: ignore[attr-defined]
