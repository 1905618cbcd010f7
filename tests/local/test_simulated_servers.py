"""The simulation's servers against the real ones: the same questions, and the same answers and rows."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis
from sqlalchemy import NullPool, create_engine, insert, make_url, select

from app.accounts.models import User
from app.deliveries.job import DeliveryHandler
from app.deliveries.models import Delivery, DeliveryAttempt
from app.queue.job import Job, Outcome
from app.queue.models import Job as Row
from app.queue.outbox import new_job
from app.queue.records import Records
from app.queue.wakeups import Wakeups

sys.path.insert(0, str(Path(__file__).parents[1] / "simulation"))

from simulated import harness, postgres_client, world
from simulated.profiles import plan_of
from simulated.redis_client import SimulatedRedis
from simulated.scheduler import Process, Scheduler

QUEUE = harness.QUEUE
LEASE = 0.3
USER = uuid.UUID(int=7)
DETAIL = {
    "started_at": "2026-01-01T00:00:00+00:00", "duration_ms": 3, "status_code": 204, "error": None,
    "response_excerpt": "ok",
}  # fmt: skip


def _id(number: int) -> uuid.UUID:
    return uuid.UUID(int=1000 + number)


class Story:
    """What the queue asks of Postgres, one after another. What comes of it is noted without times."""

    def __init__(self, engine: Any, sleep: Callable[[float], None]) -> None:
        handler = DeliveryHandler(harness._settings("worker", 1, 1.0))
        handler.lease = LEASE
        self.engine, self.sleep = engine, sleep
        self.records = Records(engine, {"delivery": handler})
        self.noted: list[Any] = []

    def add(self, number: int, *, max_attempts: int = 2) -> None:
        with self.engine.begin() as connection:
            connection.execute(
                insert(Delivery).values(
                    id=_id(number), user_id=USER, url="https://x.example", payload={"n": number}, payload_text="{}",
                    headers={}, max_attempts=max_attempts,
                )
            )  # fmt: skip
            connection.execute(
                new_job(
                    job_id=_id(100 + number), kind="delivery", queue=QUEUE, subject_id=_id(number),
                    max_attempts=max_attempts, correlation_id=None,
                )
            )  # fmt: skip

    def claim(self, *numbers: int, worker: str = "a") -> dict[int, Job]:
        jobs = [Job(id=_id(100 + number)) for number in numbers]
        won = self.records.claim(jobs, worker=worker, at=0.0)
        by_number = {job.id.int - 1100: job for job in won}
        self.note("claimed", sorted((number, job.attempt, job.work is not None) for number, job in by_number.items()))
        self.note("waits", sorted((job.id.int - 1100, job.wait is not None and job.wait > 0) for job in jobs))
        return by_number

    def store(self, *ends: tuple[Job, Outcome]) -> None:
        for job, outcome in ends:
            job.outcome, job.wait = outcome, outcome.at_least
        self.note("before", sorted(self.records.stored_before([job for job, _ in ends]).items()))
        self.note("kept", sorted(self.records.store([job for job, _ in ends])))
        self.note("again", sorted(self.records.store([job for job, _ in ends])))
        self.note("stands", sorted(self.records.stored_before([job for job, _ in ends]).items()))

    def note(self, what: str, value: Any) -> None:
        self.noted.append((what, value))

    def rows(self) -> None:
        with self.engine.connect() as connection:
            for row in connection.execute(
                select(
                    Row.id, Row.state, Row.attempt, Row.last_error, Row.claimed_by, Row.lease_until, Row.enqueued_at,
                    Row.finished_at,
                ).order_by(Row.id)
            ):  # fmt: skip
                times = (row.lease_until, row.enqueued_at, row.finished_at)
                self.note("job", (row.id, row.state, row.attempt, row.last_error, row.claimed_by, *map(bool, times)))
            for row in connection.execute(
                select(Delivery.id, Delivery.status, Delivery.last_error, Delivery.completed_at).order_by(Delivery.id)
            ):
                self.note("delivery", (row.id, row.status, row.last_error, bool(row.completed_at)))
            for row in connection.execute(
                select(DeliveryAttempt.delivery_id, DeliveryAttempt.number, DeliveryAttempt.status_code).order_by(
                    DeliveryAttempt.delivery_id, DeliveryAttempt.number
                )
            ):
                self.note("attempt", (row.delivery_id, row.number, row.status_code))

    def sweep(self) -> None:
        for last in (True, False):
            found: list[Job] = []

            def step(sweep: Any, last: bool = last, found: list[Job] = found) -> int:
                found += sweep.expire(last=last, error="over")
                return len(found)

            self.note("swept", self.records.sweep(QUEUE, step))
            self.note("expired", sorted(job.id for job in found))

        def requeue(sweep: Any) -> int:
            none = __import__("datetime").timedelta(seconds=0)
            self.note("pending", sweep.pending(due_for=none))
            page = sweep.overdue(after=None, due_for=none, enqueued_for=none, most=2)
            self.note("page", len(page))
            rest = sweep.overdue(after=page[-1], due_for=none, enqueued_for=none, most=50) if page else []
            self.note("rest", len(rest))
            sweep.mark([job.id for job in page])
            self.note("unmarked", len(sweep.overdue(after=None, due_for=none, enqueued_for=None, most=50)))
            return 0

        self.records.sweep(QUEUE, requeue)

    def tell(self) -> list[Any]:
        done, again = Outcome(result="done", detail=DETAIL), Outcome(result="retry", error="no", detail=DETAIL)
        waiting = Outcome(result="wait", at_least=60.0, begun=False)
        dead = Outcome(result="dead", error="never", detail=DETAIL)
        for number in range(9):
            self.add(number, max_attempts=1 if number == 7 else 2)
        held = self.claim(3, 1, 2, 2, 50)
        self.claim(1, 2, worker="b")
        self.note("owned", sorted(job.id for job in self.records.owned([_id(101), _id(102), _id(104)], worker="a")))
        self.rows()
        self.store((held[1], done))
        self.store((held[2], again), (held[3], waiting))
        self.claim(2, 3, 1)
        self.rows()
        left = self.claim(4, 5, 7)
        stolen = Job(id=left[5].id, kind="delivery", subject_id=_id(5), attempt=left[5].attempt, worker="b")
        self.store((stolen, done))
        self.sleep(LEASE + 0.1)
        later = self.claim(5, worker="b")
        self.store((left[5], done))
        self.store((later[5], dead))
        self.sweep()
        self.rows()
        self.claim(4, 7)
        return self.noted


def test_postgres(migrated_url: str) -> None:
    engine = create_engine(make_url(migrated_url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(insert(User).values(id=USER, email="a@example.com", password_hash="x"))
    real = Story(engine, time.sleep).tell()
    engine.dispose()
    with _simulation() as scheduler:
        told = _within(scheduler, lambda: Story(postgres_client.SimulatedEngine(), scheduler.sleep).tell())
    assert told == real


@contextmanager
def _simulation() -> Iterator[Scheduler]:
    with harness.installed():
        plan, scheduler = plan_of(1), Scheduler(1)
        plan.rates, plan.targets, plan.bugs = {}, [], []
        world.use(world.World(plan=plan, scheduler=scheduler))
        try:
            yield scheduler
        finally:
            world.use(None)


def _within(scheduler: Scheduler, work: Callable[[], Any]) -> Any:
    results: list[Any] = []
    scheduler.spawn(Process("somebody"), "main", lambda: results.append(work()))
    scheduler.run(lambda: bool(results), bound=2000.0)
    return results[0]


COMMANDS: list[tuple[Any, ...]] = [
    ("RPUSH", "l", "a", "b", "a"), ("LPUSH", "l", "c"), ("LRANGE", "l", 0, -1), ("LLEN", "l"), ("LPOP", "l"),
    ("LMOVE", "l", "l", "LEFT", "LEFT"), ("LMOVE", "l", "m", "RIGHT", "LEFT"), ("LREM", "l", 0, "a"), ("EXISTS", "m"),
    ("LPOP", "none"), ("LMOVE", "none", "l", "LEFT", "LEFT"), ("HSET", "h", "a", 1, "b", "x"), ("HSET", "h", "a", 2),
    ("HGET", "h", "a"), ("HGET", "h", "none"), ("HMGET", "h", "a", "none"), ("HGETALL", "h"), ("HEXISTS", "h", "b"),
    ("HINCRBY", "h", "a", 3), ("HINCRBYFLOAT", "h", "f", "1.5"), ("HDEL", "h", "a", "none"), ("SADD", "s", "x", "y"),
    ("SADD", "s", "x"), ("SREM", "s", "x", "none"), ("SMEMBERS", "s"), ("SCARD", "s"), ("ZADD", "z", 1, "a", 2, "b"),
    ("ZADD", "z", "XX", 5, "a", 6, "new"), ("ZADD", "z", "NX", 7, "a", 8, "c"), ("ZCARD", "z"), ("ZSCORE", "z", "a"),
    ("ZSCORE", "z", "none"), ("ZRANGE", "z", 0, -1), ("ZRANGE", "z", 0, 0, "WITHSCORES"),
    ("ZRANGE", "z", 2, "+inf", "BYSCORE"), ("ZRANGEBYSCORE", "z", "-inf", 5, "LIMIT", 0, 1), ("ZCOUNT", "z", 2, "+inf"),
    ("ZREMRANGEBYSCORE", "z", 0, 2), ("ZREM", "z", "a", "none"), ("ZRANGE", "z", 0, -1), ("SET", "k", "v"),
    ("SET", "k", "w", "NX"), ("GET", "k"), ("SET", "lock", 1, "NX", "EX", 100), ("TTL", "lock"), ("TTL", "k"),
    ("EXPIRE", "k", 50), ("TTL", "k"), ("PERSIST", "k"), ("PERSIST", "k"), ("TTL", "none"), ("EXPIRE", "none", 5),
    ("DEL", "k", "none"), ("EXISTS", "k", "l", "h"), ("HDEL", "h", "b", "f"), ("EXISTS", "h"), ("LPOP", "m"),
]  # fmt: skip


def test_commands_of_redis(redis_url: str) -> None:
    with Redis.from_url(redis_url, protocol=2) as client:
        real = [client.execute_command(*command) for command in COMMANDS]
    with _simulation() as scheduler:
        simulated = SimulatedRedis.from_url("redis://simulated", retry=_no_retry())
        told = _within(scheduler, lambda: [simulated.execute_command(*command) for command in COMMANDS])
    assert [_plain(one) for one in told] == [_plain(one) for one in real]


def _no_retry() -> Any:
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return Retry(NoBackoff(), 0)


def _plain(answer: Any) -> Any:
    return sorted(answer) if isinstance(answer, set) else answer


def _wakeups(client: Any) -> list[Any]:
    """What the queue asks of Redis, and what the keys are afterwards, without times and ids."""
    queue = Wakeups(client, name=QUEUE, job_timeout=5, worker="w")
    other = Wakeups(client, name=QUEUE, job_timeout=5, worker="x")
    noted: list[Any] = [queue.enqueue([_id(1), _id(2), _id(3)]), queue.enqueue([_id(4)], urgent=True), queue.count()]
    jobs = queue.dequeue(3)
    noted += [[job.id for job in jobs], sorted(queue.waiting_ids()), sorted(queue.running_ids()), queue.wait(0.01)]
    noted += [sorted(job.rq_id for job in queue.dequeued_beside({jobs[0].execution})), other.dequeued_beside(set())]
    ends: list[tuple[Any, Any]] = list(zip(jobs, ("finished", "failed", "scheduled"), strict=True))
    for job, end in ends:
        job.acknowledgement, job.error, job.wait = end, "no" if end == "failed" else "", 0.0
    noted += [queue.acknowledge(jobs), queue.acknowledge(jobs), queue.count(), queue.promote() >= 0.0, queue.count()]
    again = queue.dequeue(5)
    queue.release(again[:1])
    queue.release(again[:1])
    noted += [[job.id for job in again], sorted(queue.waiting_ids()), queue.wait(0.01)]
    noted += [queue.trim(keep_finished=0, keep_failed=1), [job.id for job in other.dequeue(2)], other.wait(0.01)]
    for key in sorted(client.keys("*") if not isinstance(client, SimulatedRedis) else world.current().redis.data):
        name = key.decode()
        if ":execution" not in name and ":results:" not in name:
            kind = client.execute_command("TTL", key)
            noted.append((name, kind == -1))
    return noted


def test_what_the_queue_asks_of_redis(redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        real = _wakeups(client)
    with _simulation() as scheduler:
        simulated = SimulatedRedis.from_url("redis://simulated", retry=_no_retry())
        told = _within(scheduler, lambda: _wakeups(simulated))
    assert told == real
