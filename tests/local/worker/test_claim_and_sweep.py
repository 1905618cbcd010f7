"""The statements that decide who may act on a job, and the sweep that finds forgotten ones."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis, RedisError
from sqlalchemy import event, func, insert, select, text, update
from sqlalchemy.exc import OperationalError

from app.db import locks
from app.queue import job as jobs
from app.queue.attempts import Attempts
from app.queue.execute import attempt
from app.queue.handler import Effects
from app.queue.job import Outcome
from app.queue.leases import JobsNotStartedError
from app.queue.models import Job
from app.queue.outbox import new_job
from app.queue.records import Records
from app.queue.statements import Statements, look_up_waits
from app.queue.sweeper import Sweeper
from app.queue.wakeups import Wakeups
from app.queue.worker.loop import EXIT_STUCK
from app.queue.worker.signals import Shutdown

pytestmark = [pytest.mark.local, pytest.mark.timeout(60)]

LEASES = {"delivery": 30.0}
URL = "https://example.com/"


def claim_jobs(world: Any, *job_ids: uuid.UUID, worker: str = "w", leases: dict[str, float] = LEASES) -> Any:
    """Those that were won; and how long to wait for those that are not due."""
    given = [jobs.Job(id=job_id) for job_id in job_ids]
    with world.engine.begin() as connection:
        won = Statements({}, leases).claim(connection, given, worker=worker, at=0.0)
        look_up_waits(connection, [job for job in given if job not in won])
    return won, {job.id: job.wait for job in given if job.wait is not None}


def claim_job(world: Any, job_id: uuid.UUID, **kwargs: Any) -> Any:
    """The claim; None when it was not won."""
    return next(iter(claim_jobs(world, job_id, **kwargs)[0]), None)


def ended(job: jobs.Job, result: jobs.Result, *, seconds: float = 0.0, error: str | None = None) -> jobs.Job:
    return replace(job, outcome=Outcome(result=result, error=error), wait=seconds)


def finish(world: Any, *finished: jobs.Job) -> set[uuid.UUID]:
    with world.engine.begin() as connection:
        return Statements({}, LEASES).store(connection, finished)


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
    won, not_yet = claim_jobs(world, job_id)
    assert won == []
    assert 45 < not_yet[job_id] <= 50
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

    ends = [
        ended(first, "done"),
        ended(first, "retry", seconds=1, error="x"),
        ended(first, "dead", error="x"),
        ended(first, "wait"),
    ]
    assert all(finish(world, end) == set() for end in ends)
    assert finish(world, ended(second, "done")) == {job_id}

    assert world.job(job_id).state == "done"
    assert world.job(job_id).finished_at is not None


def test_a_released_job_keeps_its_attempts_and_fences_the_one_that_released_it(world: Any) -> None:
    _, job_id = world.add(URL, push=False, max_attempts=1)
    first = claim_job(world, job_id, worker="first")
    assert finish(world, ended(first, "wait")) == {job_id}
    second = claim_job(world, job_id, worker="second")
    assert second.attempt == first.attempt == 1

    assert finish(world, ended(first, "done")) == set()


def test_many_are_claimed_and_finished_at_once_each_in_its_own_way(world: Any) -> None:
    done, again, dead, waiting = ids = add_many(world, 4)
    [foreign] = add_many(world, 1, kind="prediction")
    claims = {one.id: one for one in claim_jobs(world, *ids, foreign, uuid.uuid4())[0]}
    assert set(claims) == set(ids)

    finished = finish(
        world,
        ended(claims[done], "done"),
        ended(claims[again], "retry", seconds=50, error="busy"),
        ended(claims[dead], "dead", error="no"),
        ended(claims[waiting], "wait", seconds=20),
    )

    assert finished == set(ids)
    rows = {job_id: world.job(job_id) for job_id in ids}
    assert [(rows[i].state, rows[i].attempt, rows[i].last_error) for i in ids] == [
        ("done", 1, None),
        ("pending", 1, "busy"),
        ("dead", 1, "no"),
        ("pending", 0, None),
    ]
    assert {rows[i].claimed_by for i in ids} == {rows[i].lease_until for i in ids} == {None}
    assert claim_jobs(world, *ids)[1].keys() == {again, waiting}


def sweeper(world: Any, *, interval: float = 0.001, handlers: dict[str, Any] | None = None) -> Sweeper:
    return Sweeper(records=Records(world.engine, handlers or {}), wakeups=world.queue, interval=interval)


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
    world.queue.enqueue(ids[:10])
    world.redis.lmove(world.queue.rq.key, world.queue.rq.intermediate_queue_key)

    assert sweeper(world).sweep().requeued == 10

    assert world.redis.llen(world.queue.rq.key) == 19
    with world.engine.connect() as connection:
        assert connection.scalar(select(func.count()).where(Job.enqueued_at.is_(None))) == 0


def test_announced_jobs_are_compared_only_when_some_are_missing(world: Any) -> None:
    ids = add_many(world, 10, enqueued_at=datetime.now(UTC) - timedelta(minutes=5))
    world.queue.enqueue(ids)
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
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": locks.SWEEP})
        assert sweeper(world).sweep().requeued == 0

    assert sweeper(world).sweep().requeued == 1


def test_a_sweep_without_redis_changes_nothing(world: Any) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    [job_id] = add_many(world, 1, state="running", attempt=1, lease_until=past, claimed_by="gone")
    away = Wakeups(Redis(port=9, retry=None), name="webhook-processor", job_timeout=1)

    with pytest.raises(RedisError):
        Sweeper(records=Records(world.engine, {}), wakeups=away, interval=1).sweep()

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


def attempts(world: Any, handler: Any) -> Attempts:
    handlers = {"delivery": handler}
    return Attempts(
        records=Records(world.engine, handlers), handlers=handlers, worker="w", backoff_base=0.01, backoff_cap=0.01
    )


def claim(made: Attempts, *job_ids: uuid.UUID) -> list[jobs.Job]:
    return made.claim([jobs.Job(id=job_id) for job_id in job_ids])


def run_and_store(made: Attempts, *job_ids: uuid.UUID) -> list[jobs.Job]:
    taken = claim(made, *job_ids)
    for job in taken:
        made.run(job)
    return made.store(taken)


class Faulty:
    """A handler with a fault in it."""

    lease = 30.0
    begin = "SELECT subject_id AS id, json_build_object('id', job_id) AS work FROM {mine} AS claimed"

    @property
    def effects(self) -> Effects:
        return Effects(begin=self.begin, also=self.store)

    def run(self, work: Any, job: jobs.Job) -> Any:
        raise ZeroDivisionError

    def store(self, connection: Any, ended: Any) -> None:
        pass


class Choosy(Faulty):
    """One whose effect the database refuses for some jobs."""

    def __init__(self, refused: uuid.UUID) -> None:
        self.refused = refused

    def run(self, work: Any, job: jobs.Job) -> Any:
        return Outcome(result="done")

    def store(self, connection: Any, ended: Any) -> None:
        for job in ended:
            value = "x" if job.id == self.refused else "1"
            connection.execute(text("SELECT CAST(:value AS int)"), {"value": value})


def test_an_effect_that_cannot_be_stored_holds_up_no_other(world: Any) -> None:
    ids = add_many(world, 5)
    made = attempts(world, Choosy(ids[2]))

    settled = run_and_store(made, *ids)

    assert {job.id: job.stored_as for job in settled} == {
        job_id: "unstored" if job_id == ids[2] else "stored" for job_id in ids
    }
    assert [world.job(job_id).state for job_id in ids] == ["done", "done", "running", "done", "done"]
    assert made.held == {}


def test_a_job_that_cannot_be_begun_holds_up_no_other(world: Any) -> None:
    bad, *good = add_many(world, 4)
    handler = Choosy(uuid.uuid4())
    handler.begin = f"""
        SELECT subject_id AS id, json_build_object('n', 1 / CAST(job_id <> '{bad}' AS int)) AS work
        FROM {{mine}} AS claimed
    """

    run_and_store(attempts(world, handler), good[0], bad, *good[1:])

    assert [world.job(job_id).state for job_id in good] == ["done"] * 3
    # A counted attempt: one that can never be begun comes to its end.
    assert (world.job(bad).state, world.job(bad).attempt) == ("pending", 1)
    assert world.job(bad).last_error == "internal error"


def test_a_job_whose_work_cannot_be_read_holds_up_no_other(world: Any) -> None:
    """Its error would end the thread that claims, and every worker in turn."""
    bad, *good = add_many(world, 3)

    def work(found: Any) -> Any:
        if found["id"] == str(bad):
            raise KeyError("a fault in the handler")
        return found

    class Reading(Choosy):
        @property
        def effects(self) -> Effects:
            return Effects(begin=self.begin, read=work, store=("SELECT id FROM {mine} AS finished",))

    run_and_store(attempts(world, Reading(uuid.uuid4())), good[0], bad, good[1])

    assert [world.job(job_id).state for job_id in good] == ["done"] * 2
    assert (world.job(bad).state, world.job(bad).attempt) == ("pending", 1)


def test_a_worker_that_stops_counts_what_broke_it(world: Any) -> None:
    free, again, last = add_many(world, 3)
    set_job(world, last, max_attempts=1)
    made = attempts(world, Faulty())
    claim(made, free, again, last)

    made.release(suspects=[again, last])

    assert [(world.job(i).state, world.job(i).attempt) for i in (free, again, last)] == [
        ("pending", 0),
        ("pending", 1),
        ("dead", 1),
    ]
    assert world.job(last).last_error == "the worker failed over the job"


def test_a_job_that_the_database_kept_from_beginning_goes_back_without_an_attempt(world: Any) -> None:
    [job_id] = add_many(world, 1)
    handler = Choosy(uuid.uuid4())

    handler.begin = "SELECT subject_id AS id, begun.work FROM {mine} AS claimed, begun"

    with pytest.raises(JobsNotStartedError):
        claim(attempts(world, handler), job_id)

    assert (world.job(job_id).state, world.job(job_id).attempt) == ("pending", 0)


def test_what_was_claimed_stays_claimed_when_the_rest_cannot_be_looked_up(world: Any) -> None:
    [now] = add_many(world, 1)
    [later] = add_many(world, 1, run_at=datetime.now(UTC) + timedelta(minutes=1))

    @event.listens_for(world.engine, "before_cursor_execute")
    def away(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SELECT jobs.id"):
            raise OperationalError("", {}, Exception())

    given = [jobs.Job(id=now), jobs.Job(id=later)]
    taken = attempts(world, Faulty()).claim(given)
    event.remove(world.engine, "before_cursor_execute", away)

    assert [job.id for job in taken] == [now]
    assert given[1].wait == 1.0, "it is looked at again soon"
    assert world.job(now).state == "running"


def test_a_claim_waits_for_no_disk_and_nothing_else_is_hurried(world: Any) -> None:
    [job_id] = add_many(world, 1)
    with world.engine.connect() as connection:
        with connection.begin():
            Statements({}, LEASES).claim(connection, [jobs.Job(id=job_id)], worker="w", at=0.0)
            assert connection.execute(text("SHOW synchronous_commit")).scalar() == "off"
        assert connection.execute(text("SHOW synchronous_commit")).scalar() == "on"


def test_waiting_is_no_attempt_and_takes_exactly_as_long_as_asked(world: Any) -> None:
    handler = Choosy(uuid.uuid4())
    handler.run = lambda work, job: Outcome(result="wait", at_least=40.0)  # type: ignore[method-assign]
    [job_id] = add_many(world, 1, max_attempts=1)

    retry = attempt(attempts(world, handler), job_id)

    assert retry is not None
    assert retry.seconds == 40.0
    assert (world.job(job_id).state, world.job(job_id).attempt) == ("pending", 0)
    assert 35 < claim_jobs(world, job_id)[1][job_id] <= 40


def test_a_worker_that_stops_hands_its_jobs_back_and_counts_those_that_would_not_end(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, again, last = add_many(world, 3)
    set_job(world, last, max_attempts=1)
    made = attempts(world, Faulty())
    claim(made, free, again, last)
    monkeypatch.setattr(made, "stuck", lambda: [str(again), str(last)])

    made.release()

    assert [(world.job(i).state, world.job(i).attempt) for i in (free, again, last)] == [
        ("pending", 0),
        ("pending", 1),
        ("dead", 1),
    ]
    assert world.job(last).last_error == "the job ignored its deadline"


def test_a_fault_in_a_handler_is_a_counted_attempt(world: Any) -> None:
    _, job_id = world.add(URL, push=False, max_attempts=2)
    made = attempts(world, Faulty())

    retry = attempt(made, job_id)

    assert retry is not None
    assert retry.seconds <= 0.01
    assert (world.job(job_id).state, world.job(job_id).last_error) == ("pending", "internal error")
    assert made.held == {}


def test_a_deleted_delivery_ends_its_job(world: Any) -> None:
    [job_id] = add_many(world, 1)
    handler = Faulty()
    handler.begin += " WHERE false"

    with pytest.raises(Exception, match="what the job was for is gone"):
        attempt(attempts(world, handler), job_id)

    assert world.job(job_id).state == "dead"


def test_a_job_far_beyond_its_lease_is_stuck(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, job_id = world.add(URL, push=False)
    claimed = claim_job(world, job_id)
    made = attempts(world, Faulty())
    made.held[job_id, claimed.attempt] = claimed
    monkeypatch.setattr("app.queue.leases.time.monotonic", lambda: 89.0)
    assert made.stuck() == []
    monkeypatch.setattr("app.queue.leases.time.monotonic", lambda: 91.0)
    assert made.stuck() == [str(job_id)]


def test_a_worker_with_a_stuck_job_ends_with_an_error(
    world: Any, make_worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutdown = Shutdown()
    made = attempts(world, Faulty())
    monkeypatch.setattr(made, "stuck", lambda: ["one"])
    worker = make_worker("stuck", shutdown=shutdown, attempts=made)

    assert worker.serve() == EXIT_STUCK
    assert shutdown.requested.is_set()


def test_a_job_that_was_popped_and_never_claimed_comes_back_soon(world: Any) -> None:
    """Its worker died in between. RQ itself would take more than a minute to notice."""
    now = datetime.now(UTC)
    lost, held = add_many(world, 2, run_at=now - timedelta(minutes=1))
    started = world.queue.rq.started_job_registry.key
    world.redis.zadd(started, {f"{lost}:x": now.timestamp() + 55, f"{held}:y": now.timestamp() + 65})

    assert sweeper(world).sweep().requeued == 1

    assert world.queue.waiting_ids() == {str(lost)}
