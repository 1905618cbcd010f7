"""Transactions that hold the same rows, in opposite orders: none becomes a deadlock.

A third one holds the row in the middle until both wait. Then each has its first row and wants the other's, or they
stand in one line.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, NullPool, insert, make_url, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import create_async_engine

from app.deliveries import queries
from app.deliveries.queries import NewDelivery
from app.queue import job as jobs
from app.queue.attempts import Attempts
from app.queue.handler import Effects
from app.queue.job import Outcome
from app.queue.models import Job
from app.queue.records import Records
from app.queue.statements import Statements
from app.queue.sweeper import Sweeper

pytestmark = [pytest.mark.local, pytest.mark.timeout(60)]

IDS = sorted(uuid.uuid4() for _ in range(3))
ENOUGH = 20.0


class Crossing:
    """`middle` is a statement that locks what the two both want second."""

    def __init__(self, world: Any, url: str, middle: str, *values: Any, eventually: Any) -> None:
        self.world, self.url, self.eventually = world, url, eventually
        self.middle, self.values = middle, values

    def run(self, first: Callable[[], Any], second: Callable[[], Any]) -> tuple[Any, Any]:
        with psycopg.connect(self.url) as holder, ThreadPoolExecutor(2) as pool:
            holder.execute(self.middle, self.values)
            one: Future[Any] = pool.submit(first)
            self.eventually(lambda: self._waiting() == 1)
            two: Future[Any] = pool.submit(second)
            self.eventually(lambda: self._waiting() == 2)
            holder.rollback()
            return one.result(ENOUGH), two.result(ENOUGH)

    def _waiting(self) -> int:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        with psycopg.connect(self.url) as watcher:
            row = watcher.execute(query).fetchone()
        return int(row[0]) if row else 0


@pytest.fixture
def crossing(world: Any, migrated_url: str, eventually: Any) -> Callable[..., Crossing]:
    return lambda middle, *values: Crossing(world, migrated_url, middle, *values, eventually=eventually)


@contextmanager
def reading(world: Any, *, in_order: bool) -> Iterator[Connection]:
    """A transaction whose plans find rows by their index, or as they lie in the table: the last id first."""
    with world.engine.begin() as connection:
        for way in ("seqscan" if in_order else "indexscan", "bitmapscan", "hashjoin", "mergejoin"):
            connection.execute(text(f"SET LOCAL enable_{way} = off"))
        yield connection


def test_two_batches_with_the_same_keys_in_opposite_orders(
    world: Any, migrated_url: str, crossing: Callable[..., Crossing]
) -> None:
    def add(keys: str) -> list[bool]:
        new = [
            NewDelivery(
                user_id=world.user_id,
                url="https://example.com/",
                payload={},
                payload_text="{}",
                headers={},
                max_attempts=1,
                idempotency_key=key,
                request_hash=b"x",
                correlation_id=None,
                traceparent=None,
            )
            for key in keys
        ]

        async def store() -> set[uuid.UUID]:
            url = make_url(migrated_url).set(drivername="postgresql+psycopg")
            engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
            async with engine.connect() as connection:
                return await queries.add(connection, new, kind="delivery", queue="q")

        added = asyncio.run(store())
        return [one.id in added for one in new]

    held = (
        "INSERT INTO deliveries (id, user_id, url, payload, max_attempts, idempotency_key) "
        "VALUES (gen_random_uuid(), %s, 'x', '1', 1, 'm')"
    )
    one, two = crossing(held, world.user_id).run(lambda: add("amz"), lambda: add("zma"))

    # Each key was added by one of the two.
    assert [a != b for a, b in zip(one, reversed(two), strict=True)] == [True] * 3
    with world.engine.connect() as connection:
        keys = connection.execute(text("SELECT idempotency_key FROM deliveries ORDER BY 1")).scalars().all()
        assert keys == ["a", "m", "z"]
        assert connection.scalar(text("SELECT count(*) FROM jobs")) == 3


def add_jobs(world: Any, **values: Any) -> None:
    rows = [
        {
            "id": job_id,
            "kind": "delivery",
            "queue": "webhook-processor",
            "subject_id": uuid.uuid4(),
            "max_attempts": 3,
            # A plan may find them by the index on this, which has the order of the ids.
            "run_at": datetime.now(UTC) - timedelta(minutes=5) + timedelta(seconds=number),
            **values,
        }
        for number, job_id in reversed(list(enumerate(IDS)))
    ]
    with world.engine.begin() as connection:
        for row in rows:
            connection.execute(insert(Job), [row])


STATEMENTS = Statements({}, {"delivery": 30.0})
DONE = Outcome(result="done")


def test_two_claims_of_the_same_jobs(world: Any, crossing: Callable[..., Crossing]) -> None:
    add_jobs(world)

    def take(in_order: bool) -> set[uuid.UUID]:
        with reading(world, in_order=in_order) as connection:
            given = [jobs.Job(id=job_id) for job_id in IDS]
            return {job.id for job in STATEMENTS.claim(connection, given, worker=f"w{in_order}", at=0.0)}

    one, two = crossing("SELECT 1 FROM jobs WHERE id = %s FOR UPDATE", IDS[1]).run(
        lambda: take(True), lambda: take(False)
    )

    assert sorted([len(one), len(two)]) == [0, 3]


def test_two_ends_of_the_same_jobs(world: Any, crossing: Callable[..., Crossing]) -> None:
    """As when a worker hands back what its own thread is storing."""
    add_jobs(world)
    with world.engine.begin() as connection:
        # The last one first, which is how they lie in the table afterwards.
        won = [jobs.Job(id=job_id, outcome=DONE) for job_id in reversed(IDS)]
        assert all(STATEMENTS.claim(connection, [job], worker="w", at=0.0) for job in won)

    def end(in_order: bool) -> set[uuid.UUID]:
        ends = sorted(won, key=lambda one: one.id, reverse=not in_order)
        with reading(world, in_order=in_order) as connection:
            return STATEMENTS.store(connection, ends)

    one, two = crossing("SELECT 1 FROM jobs WHERE id = %s FOR UPDATE", IDS[1]).run(
        lambda: end(True), lambda: end(False)
    )

    assert sorted([len(one), len(two)]) == [0, 3]


LOCK_PREDICTION = "SELECT 1 FROM predictions WHERE id = %s FOR UPDATE"


def add_predictions(world: Any, *, status: str = "processing") -> None:
    """The one with the highest id is OpenAI's, whose news used to be applied first."""
    from app.predictions.models import Prediction

    with world.engine.begin() as connection:
        for number, prediction_id in enumerate(reversed(IDS)):
            connection.execute(
                insert(Prediction).values(
                    id=prediction_id,
                    user_id=world.user_id,
                    provider="replicate" if number else "openai",
                    model="m",
                    input={},
                    status=status,
                    provider_id=f"p{number}",
                )
            )


def ended(prediction_id: uuid.UUID) -> Any:
    from app.predictions.results import Change

    return Change(prediction_id=prediction_id, status="succeeded", output=1)


def asked(world: Any) -> set[uuid.UUID]:
    """What the jobs of these predictions store."""
    from app.predictions import results

    with world.engine.begin() as connection:
        return results.apply(connection, [ended(prediction_id) for prediction_id in IDS])


@pytest.mark.feature("predictions")
def test_webhooks_of_two_providers_beside_the_predictions_own_jobs(
    world: Any, crossing: Callable[..., Crossing]
) -> None:
    from app.predictions.models import Prediction
    from app.predictions.webhooks import job as webhook
    from app.predictions.webhooks.job import News

    add_predictions(world)

    def told() -> None:
        news = [News(provider="openai", change=ended(IDS[2]))]
        news += [News(provider="replicate", change=ended(prediction_id)) for prediction_id in IDS[:2]]
        with world.engine.begin() as connection:
            webhook.store(connection, [a_job(Outcome(result="done", detail=one)) for one in news])

    crossing(LOCK_PREDICTION, IDS[1]).run(lambda: asked(world), told)

    with world.engine.connect() as connection:
        assert connection.execute(select(Prediction.status)).scalars().all() == ["succeeded"] * 3


@pytest.mark.feature("predictions")
@pytest.mark.parametrize("dead", [False, True])
def test_abandoned_predictions_beside_their_own_jobs(world: Any, crossing: Callable[..., Crossing], dead: bool) -> None:
    from app.predictions import job as prediction

    add_predictions(world, status="submitting")

    def abandon() -> None:
        with reading(world, in_order=False) as connection:
            outcome = Outcome(result="dead" if dead else "retry", error="gone")
            prediction.store(connection, [a_job(outcome, subject_id=one) for one in IDS])

    stored, _ = crossing(LOCK_PREDICTION, IDS[1]).run(lambda: asked(world), abandon)

    assert stored == set(IDS)


def test_a_sweep_waits_for_no_job(world: Any, migrated_url: str) -> None:
    """It holds what others want, so it takes only what nobody is at, and the rest in its next round."""
    past = datetime.now(UTC) - timedelta(seconds=1)
    add_jobs(world, state="running", attempt=1, lease_until=past, claimed_by="gone")
    sweeper = Sweeper(records=Records(world.engine, {}), wakeups=world.queue, interval=60)

    with psycopg.connect(migrated_url) as storing, ThreadPoolExecutor(1) as pool:
        storing.execute("SELECT 1 FROM jobs WHERE id = %s FOR UPDATE", [IDS[1]])
        swept = pool.submit(sweeper.sweep)
        try:
            assert swept.result(ENOUGH).requeued == 2
        finally:
            storing.rollback()

    assert sweeper.sweep().requeued == 1


class Kept:
    """A kind that notes the transaction in which its jobs are stored."""

    lease = 30.0

    def __init__(self) -> None:
        self.transactions: list[str] = []

    @property
    def effects(self) -> Effects:
        begin = "SELECT subject_id AS id, json_build_object('id', job_id) AS work FROM {mine} AS claimed"
        return Effects(begin=begin, also=lambda connection, jobs: self.store(connection, jobs))

    def run(self, work: Any, job: jobs.Job) -> Outcome:
        return DONE

    def store(self, connection: Any, ended: Any) -> None:
        self._note(connection)

    def _note(self, connection: Any) -> None:
        self.transactions.append(str(connection.scalar(text("SELECT pg_current_xact_id()"))))


def attempts(world: Any, kinds: Any) -> Attempts:
    records = Records(world.engine, kinds)
    return Attempts(records=records, handlers=kinds, worker="w", backoff_base=1, backoff_cap=1)


def take_one_of_each(world: Any, made: Attempts) -> list[Any]:
    ids = []
    with world.engine.begin() as connection:
        for kind in made.handlers:
            ids.append(uuid.uuid4())
            row = {"id": ids[-1], "kind": kind, "queue": "q", "subject_id": uuid.uuid4(), "max_attempts": 3}
            connection.execute(insert(Job), [row])
    return made.claim([jobs.Job(id=job_id) for job_id in ids])


def test_two_kinds_are_never_stored_by_one_transaction(world: Any) -> None:
    """Predictions' own jobs and webhooks lock the same rows, each in order: together they are in none."""
    kinds = {"prediction": Kept(), "webhook": Kept()}
    made = attempts(world, kinds)

    taken = take_one_of_each(world, made)
    for job in taken:
        made.run(job)
    made.store(taken)

    noted = [transaction for kind in kinds.values() for transaction in kind.transactions]
    assert len(set(noted)) == len(noted) == 2


def test_jobs_are_handed_back_together_or_not_at_all(world: Any) -> None:
    """Whoever could not hand some on runs all of them: one that was released would run twice."""
    kinds = {"prediction": Kept(), "webhook": Kept()}

    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("", {}, Exception())

    kinds["webhook"].store = away  # type: ignore[method-assign]
    made = attempts(world, kinds)
    started = take_one_of_each(world, made)

    with pytest.raises(OperationalError):
        made.release(started, error="no slot was free")

    assert {world.job(one.id).state for one in started} == {"running"}
    assert set(made.held) == {(one.id, 1) for one in started}


def a_job(outcome: Outcome, **values: Any) -> jobs.Job:
    return jobs.Job(id=uuid.uuid4(), outcome=outcome, **{"subject_id": uuid.uuid4(), **values})
