"""Processes and servers that go away, seen from within one worker. `tests/chaos` has the whole application."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from redis import Redis

pytestmark = [pytest.mark.local, pytest.mark.timeout(90)]


@contextmanager
def database_away(world: Any, postgres_server: str) -> Iterator[None]:
    """The test's database refuses connections and those that are open are ended, as in a failover."""
    name = world.engine.url.database
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            yield
        finally:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


SHORT_LEASE = {"QUEUE_LEASE": "1500", "QUEUE_JOB_TIMEOUT": "1500", "DELIVERY_TIMEOUT": "1400"}


def test_a_job_that_kills_its_workers_is_buried(
    world: Any, workers: Any, receiver: Any, answers: Any, eventually: Any
) -> None:
    victim = workers.start(**SHORT_LEASE)
    delivery_id, job_id = world.add(receiver.on("/poison", answers(200, after=1.3)), max_attempts=1)
    eventually(lambda: receiver.requests)
    victim.kill()
    workers.start(**SHORT_LEASE)

    row = world.settled(delivery_id, "failed")

    assert "not stored within its lease; the request may have been sent" in row.last_error
    assert world.job(job_id).state == "dead"
    assert len(receiver.requests) == 1


def test_sigterm_lets_the_running_job_finish_and_takes_no_other(
    world: Any, workers: Any, receiver: Any, answers: Any, eventually: Any
) -> None:
    worker = workers.start(QUEUE_CONCURRENCY="2")
    running, _ = world.add(receiver.on("/slow", answers(200, after=1.0)))
    eventually(lambda: receiver.requests)
    worker.terminate()
    eventually(lambda: worker.events("worker stopping"))
    waiting, waiting_job = world.add(receiver.url)

    assert worker.wait() == 0

    assert world.delivery(running).status == "delivered"
    assert world.delivery(waiting).status == "pending"
    assert world.queue.waiting_ids() == {str(waiting_job)}
    assert world.redis.smembers("rq:workers") == set()
    assert not worker.health_file.exists()


def test_a_second_signal_hands_the_running_job_back(
    world: Any, workers: Any, receiver: Any, answers: Any, eventually: Any
) -> None:
    first = workers.start(DELIVERY_TIMEOUT="4000")
    url = receiver.on("/slow", lambda handler, n: answers(200, after=3.5 if n == 1 else 0)(handler, n))
    delivery_id, job_id = world.add(url)
    eventually(lambda: receiver.requests)
    began = time.monotonic()
    first.terminate()
    first.terminate()  # within a second it is the same request
    eventually(lambda: time.monotonic() - began > 1.1)
    assert first.process.poll() is None
    first.terminate()

    assert first.wait(timeout=2) == 0

    job = world.job(job_id)
    assert (job.state, job.attempt, job.claimed_by) == ("pending", 0, None)
    workers.start()
    world.settled(delivery_id, "delivered")
    assert world.job(job_id).attempt == 1


@pytest.mark.flips("shutdown_timeout")
def test_what_is_not_done_within_the_shutdown_timeout_is_handed_back(
    world: Any, workers: Any, receiver: Any, answers: Any, eventually: Any
) -> None:
    """The worker waited for `QUEUE_JOB_TIMEOUT`, whatever this said, and a shorter stop ended in SIGKILL."""
    hold = threading.Event()

    def answer(handler: Any, number: int) -> None:
        if number == 1:
            hold.wait(60)
        answers(200)(handler, number)

    longer = {"DELIVERY_TIMEOUT": "50000", "QUEUE_JOB_TIMEOUT": "60000", "QUEUE_LEASE": "60000"}
    first = workers.start(SHUTDOWN_TIMEOUT="500", **longer)
    delivery_id, job_id = world.add(receiver.on("/held", answer))
    eventually(lambda: receiver.requests)
    try:
        first.terminate()
        assert first.wait() == 0, "its only job is held until the test lets go of it"
    finally:
        hold.set()

    job = world.job(job_id)
    assert (job.state, job.attempt, job.claimed_by) == ("pending", 0, None)
    assert first.events("worker stopped")[0]["unfinished"] == 1
    workers.start(**longer)
    world.settled(delivery_id, "delivered")
    assert world.job(job_id).attempt == 1


def test_signals_at_any_moment_lose_no_job(world: Any, workers: Any, receiver: Any, eventually: Any) -> None:
    """RQ loses a job for minutes when the signal comes between the pop and the registration."""
    ids = [world.add(receiver.url)[0] for _ in range(60)]
    for pause in (0.0, 0.03):
        worker = workers.start(QUEUE_CONCURRENCY="2")
        time.sleep(pause)  # the moment of the signal is what is varied
        worker.terminate()
        assert worker.wait() == 0
        assert world.redis.llen(world.queue.rq.intermediate_queue_key) == 0
    workers.start()

    eventually(lambda: world.count("delivered") == len(ids))

    assert len(receiver.requests) == len(ids)


@pytest.mark.flips("sweep_interval")
@pytest.mark.parametrize(("interval", "found"), [("300", True), ("60000", False)])
def test_a_job_that_nobody_announced_is_found(
    world: Any, workers: Any, receiver: Any, interval: str, found: bool
) -> None:
    workers.start(SWEEP_INTERVAL=interval)
    delivery_id, _ = world.add(receiver.url, push=False)

    if found:
        world.settled(delivery_id, "delivered")
    else:
        time.sleep(1.5)
        assert world.delivery(delivery_id).status == "pending"


def test_redis_away_during_a_job(
    world: Any, workers: Any, receiver: Any, answers: Any, valkey: Any, eventually: Any
) -> None:
    worker = workers.start()
    during, _ = world.add(receiver.on("/slow", answers(200, after=1.0)))
    eventually(lambda: receiver.requests)
    valkey.stop()
    eventually(lambda: worker.events("waiting for Redis"))
    world.settled(during, "delivered")
    health = worker.health_file.stat().st_mtime
    accepted, _ = world.add(receiver.url, push=False)
    eventually(lambda: worker.health_file.stat().st_mtime > health)
    valkey.start()

    world.settled(accepted, "delivered")

    assert len(receiver.requests) == 2
    assert len(world.attempts(during)) == 1
    assert worker.process.poll() is None
    worker.terminate()
    assert worker.wait() == 0


def test_the_database_away_leaves_jobs_on_the_queue(
    world: Any, workers: Any, receiver: Any, postgres_server: str, eventually: Any
) -> None:
    worker = workers.start()
    ids = [world.add(receiver.url, push=False) for _ in range(5)]
    with database_away(world, postgres_server):
        world.queue.enqueue([job_id for _, job_id in ids])
        eventually(lambda: worker.events("waiting for the database and its schema"))
        assert receiver.requests == []

    for delivery_id, job_id in ids:
        world.settled(delivery_id, "delivered")
        assert world.job(job_id).attempt == 1
    assert worker.process.poll() is None


def test_the_database_away_when_the_result_is_stored(
    world: Any, workers: Any, receiver: Any, answers: Any, postgres_server: str, eventually: Any
) -> None:
    workers.start()
    delivery_id, job_id = world.add(receiver.on("/slow", answers(200, after=0.5)))
    eventually(lambda: receiver.requests)
    with database_away(world, postgres_server):
        time.sleep(1.0)  # the answer came, and cannot be stored

    world.settled(delivery_id, "delivered")

    assert len(receiver.requests) == 1
    assert world.job(job_id).attempt == 1


def test_a_stopped_worker_that_wakes_up_changes_nothing(
    world: Any, workers: Any, receiver: Any, answers: Any, eventually: Any
) -> None:
    """Fencing: the first worker's result is for an attempt that is no longer the job's."""
    url = receiver.on("/slow", lambda handler, n: answers(200, after=1.0 if n == 1 else 0)(handler, n))
    first = workers.start(**SHORT_LEASE)
    delivery_id, job_id = world.add(url)
    eventually(lambda: receiver.requests)
    first.process.send_signal(signal.SIGSTOP)
    workers.start(**SHORT_LEASE)
    world.settled(delivery_id, "delivered")
    first.process.send_signal(signal.SIGCONT)

    eventually(lambda: first.events("job lost its lease, its result was dropped"))

    assert len(world.attempts(delivery_id)) == 1
    assert world.job(job_id).attempt == 2


def test_a_worker_waits_for_redis_at_its_start(world: Any, workers: Any, valkey: Any, receiver: Any) -> None:
    valkey.stop()
    worker = workers.start(until="waiting for Redis")
    valkey.start()
    delivery_id, _ = world.add(receiver.url)

    world.settled(delivery_id, "delivered")

    worker.terminate()
    assert worker.wait() == 0


def test_a_demoted_primary_is_waited_for(
    world: Any, workers: Any, receiver: Any, answers: Any, eventually: Any
) -> None:
    """After a failover the old primary answers READONLY until its name points to the new one."""
    worker = workers.start()
    during, _ = world.add(receiver.on("/slow", answers(200, after=0.5)))
    eventually(lambda: receiver.requests)
    world.redis.replicaof("127.0.0.1", 9)
    try:
        eventually(lambda: worker.events("waiting for Redis"))
        world.settled(during, "delivered")
        later, _ = world.add(receiver.url, push=False)
    finally:
        world.redis.replicaof("NO", "ONE")

    world.settled(later, "delivered")
    eventually(lambda: world.queue.rq.finished_job_registry.get_job_count(cleanup=False) == 2)

    assert len(receiver.requests) == 2
    assert worker.process.poll() is None


def test_a_worker_without_a_database_is_not_well(
    world: Any, workers: Any, postgres_server: str, eventually: Any
) -> None:
    with database_away(world, postgres_server):
        worker = workers.start(until="waiting for the database and its schema")
        assert not worker.health_file.exists()

    eventually(worker.health_file.exists)


def test_wrong_credentials_end_the_worker_at_once(world: Any, workers: Any, redis_url: str) -> None:
    world.redis.config_set("requirepass", "secret")
    try:
        worker = workers.start(until="cannot start")
        assert worker.wait() == 2
        [event] = worker.events("cannot start")
        assert "Redis refuses the user or password of REDIS_URL" in event["reason"]
    finally:
        Redis.from_url(redis_url, password="secret").config_set("requirepass", "")


def test_a_worker_can_stop_while_redis_is_away(
    world: Any, workers: Any, receiver: Any, answers: Any, valkey: Any, eventually: Any
) -> None:
    worker = workers.start()
    delivery_id, _ = world.add(receiver.on("/slow", answers(200, after=1.0)))
    eventually(lambda: receiver.requests)
    valkey.stop()
    try:
        worker.terminate()
        assert worker.wait(timeout=15) == 0
    finally:
        valkey.start()

    assert world.delivery(delivery_id).status == "delivered"
