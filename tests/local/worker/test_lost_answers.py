"""Postgres commits, and the answer never comes: the network ends in between. What is repeated finds its own effect.

In all orders of the few steps that others can take in between.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, event, text, update

from app.deliveries.job import Attempt, DeliveryHandler
from app.deliveries.models import Delivery
from app.queue.attempts import Ended, Fate
from app.queue.claims import Claim
from app.queue.execute import attempt
from app.queue.handler import Outcome
from app.queue.models import Job
from app.queue.runtime import JobsNotStartedError, Runtime
from app.queue.sweeper import Sweeper
from app.settings import Settings

pytestmark = [pytest.mark.local, pytest.mark.timeout(60)]

URL = "https://example.com/"
CLAIM, FINISH = "claimed AS (", "finished AS ("


def cut() -> psycopg.OperationalError:
    return psycopg.OperationalError("server closed the connection unexpectedly")


class Network:
    """Between a worker and Postgres. `lose`: the answers to the next statements, or commits, that hold the text."""

    def __init__(self, url: Any) -> None:
        self.engine: Engine = create_engine(url)
        self._lost: list[str] = []
        self._commit = self.engine.dialect.do_commit
        event.listen(self.engine, "after_cursor_execute", self._after)
        self.engine.dialect.do_commit = self._committed  # type: ignore[method-assign]

    def lose(self, *texts: str) -> None:
        self._lost += texts

    @property
    def still_to_lose(self) -> list[str]:
        return self._lost

    def _after(self, _: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool) -> None:
        if self._lost and self._lost[0] in statement:
            self._lost.pop(0)
            raise cut()

    def _committed(self, connection: Any) -> None:
        self._commit(connection)
        if self._lost and self._lost[0] == "COMMIT":
            self._lost.pop(0)
            raise cut()


@pytest.fixture
def network(world: Any) -> Iterator[Network]:
    made = Network(world.engine.url)
    yield made
    made.engine.dispose()


class Deliveries(DeliveryHandler):
    """The real one, but that nothing is sent: `outcome` is what comes of it."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(
            Settings.load(
                {
                    "MODE": "worker",
                    "ENVIRONMENT": "test",
                    "DATABASE_URL": "postgresql://none/none",
                    "REDIS_URL": "redis://none",
                }
            )
        )
        self.outcome = outcome
        self.sent: list[tuple[uuid.UUID, int]] = []

    def run(self, work: Any, claimed: Claim) -> Outcome:
        self.sent.append((claimed.job_id, claimed.attempt))
        made = Attempt(
            started_at=datetime.now(UTC),
            duration_ms=1,
            status_code=200,
            error=self.outcome.error,
            response_excerpt=None,
        )
        return Outcome(result=self.outcome.result, error=self.outcome.error, at_least=0.01, detail=made)


class Transactional:
    """A handler whose effects take a transaction."""

    lease = 30.0
    inline = None

    def begin(self, connection: Any, claims: Any) -> Any:
        return {claimed.job_id: object() for claimed in claims}

    def run(self, work: Any, claimed: Claim) -> Outcome:
        return Outcome(result="done")

    def store(self, connection: Any, ended: Any) -> None:
        for claimed, _ in ended:
            effect = "UPDATE deliveries SET headers = headers || '{\"effect\": 1}' WHERE id = :id"
            connection.execute(text(effect), {"id": claimed.subject_id})

    def abandoned(self, connection: Any, subject_ids: Any, *, dead: bool, error: str | None) -> None:
        pass


class Ends:
    """A recorder."""

    def __init__(self) -> None:
        self.all: list[str] = []

    def started(self, kind: str, wait_seconds: float) -> None:
        pass

    def ended(self, kind: str, outcome: str, seconds: float) -> None:
        self.all.append(outcome)


def runtime(engine: Engine, handler: Any, *, worker: str = "one", recorder: Any = None) -> Runtime:
    return Runtime(
        engine=engine,
        handlers={"delivery": handler},
        worker=worker,
        backoff_base=0.01,
        backoff_cap=0.01,
        recorder=recorder or Ends(),
    )


DONE = Outcome(result="done")
RETRY = Outcome(result="retry", error="the receiver answered 500")
DEAD = Outcome(result="dead", error="the receiver answered 400")


def sweep(world: Any, handler: Any) -> Any:
    sweeper = Sweeper(engine=world.engine, queue=world.queue, handlers={"delivery": handler}, interval=0.0)
    return sweeper.sweep()


def let_lease_end(world: Any, job_id: uuid.UUID) -> None:
    with world.engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET lease_until = now() - interval '1 s' WHERE id = :id"), {"id": job_id})


# -- the claim


def test_a_claim_that_is_repeated_is_the_same_attempt(world: Any, network: Network) -> None:
    delivery_id, job_id = world.add(URL, push=False, max_attempts=1)
    made = runtime(network.engine, handler := Deliveries(DONE))
    network.lose(CLAIM)
    with pytest.raises(JobsNotStartedError):
        made.claim([job_id])
    assert (world.job(job_id).state, world.job(job_id).attempt) == ("running", 1)

    [started] = made.claim([job_id]).started
    assert stored(made, made.run(started)) == "stored"

    assert handler.sent == [(job_id, 1)]
    assert world.delivery(delivery_id).status == "delivered"
    assert made.held == {}


def test_a_claim_without_an_answer_is_given_back_and_counts_nothing(world: Any, network: Network) -> None:
    """Another worker has taken the id from the queue meanwhile, and was refused."""
    delivery_id, job_id = world.add(URL, push=False, max_attempts=1)
    made = runtime(network.engine, handler := Deliveries(DONE))
    other = runtime(world.engine, handler, worker="two")
    network.lose(CLAIM)
    with pytest.raises(JobsNotStartedError):
        made.claim([job_id])
    assert other.claim([job_id]).started == []

    made.recover()

    job = world.job(job_id)
    assert (job.state, job.attempt, job.claimed_by, job.enqueued_at) == ("pending", 0, None, None)
    assert world.delivery(delivery_id).status == "pending"
    [started] = other.claim([job_id]).started
    assert other.store([other.run(started)])[0][1] == "stored"
    made.recover()
    assert world.job(job_id).state == "done"


def test_its_end_gives_back_what_a_worker_does_not_know_that_it_has(world: Any, network: Network) -> None:
    _, job_id = world.add(URL, push=False, max_attempts=1)
    made = runtime(network.engine, Deliveries(DONE))
    network.lose(CLAIM)
    with pytest.raises(JobsNotStartedError):
        made.claim([job_id])

    assert made.unanswered
    made.hand_back()

    assert (world.job(job_id).state, world.job(job_id).attempt) == ("pending", 0)
    assert not made.unanswered


def test_a_claim_that_is_committed_after_it_was_looked_for_is_found_later(
    world: Any, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network went away before the server had the row's lock."""
    _, job_id = world.add(URL, push=False, max_attempts=1)
    made = runtime(network.engine, Deliveries(DONE))
    with monkeypatch.context() as patch:
        patch.setattr("app.queue.holding.claim.claim", lambda *_, **__: (_ for _ in ()).throw(_outage()))
        with pytest.raises(JobsNotStartedError):
            made.claim([job_id])
    made.recover()
    late = runtime(world.engine, Deliveries(DONE))
    late.claim([job_id])

    made.recover()

    assert (world.job(job_id).state, world.job(job_id).attempt) == ("pending", 0)


def test_what_is_under_way_is_not_taken_for_a_claim_without_an_answer(world: Any, network: Network) -> None:
    _, first = world.add(URL, push=False)
    _, second = world.add(URL, push=False)
    made = runtime(network.engine, handler := Deliveries(DONE))
    network.lose(CLAIM)
    with pytest.raises(JobsNotStartedError):
        made.claim([first, second])

    taken = made.claim([first, second]).started
    made.recover()

    assert sorted(world.job(job_id).state for job_id in (first, second)) == ["running", "running"]
    assert [fate for _, fate in made.store([made.run(one) for one in taken])] == ["stored", "stored"]
    assert sorted(handler.sent) == sorted([(first, 1), (second, 1)])


def test_a_plain_rq_worker_gives_it_back_before_it_ends(world: Any, network: Network) -> None:
    _, job_id = world.add(URL, push=False, max_attempts=1)
    network.lose(CLAIM)

    with pytest.raises(JobsNotStartedError):
        attempt(runtime(network.engine, Deliveries(DONE)), job_id)

    assert (world.job(job_id).state, world.job(job_id).attempt) == ("pending", 0)


def stored(made: Runtime, ended: Ended) -> Fate:
    """What becomes of it at last: the worker gives again what is to wait."""
    fate: Fate = "waiting"
    while fate == "waiting":
        [(ended, fate)] = made.store([ended])
    return fate


def _outage() -> Exception:
    from sqlalchemy.exc import OperationalError

    return OperationalError("", {}, cut())


# -- the store


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(
    ("outcome", "state", "status"),
    [(DONE, "done", "delivered"), (RETRY, "pending", "pending"), (DEAD, "dead", "failed")],
)
def test_an_end_that_is_stored_again_counts_once_and_as_stored(
    world: Any, network: Network, outcome: Outcome, state: str, status: str, times: int
) -> None:
    delivery_id, job_id = world.add(URL, push=False)
    made = runtime(network.engine, Deliveries(outcome), recorder=(ends := Ends()))
    [started] = made.claim([job_id]).started
    network.lose(*[FINISH] * times)

    fate = stored(made, made.run(started))

    assert (fate, network.still_to_lose) == ("stored", [])
    assert (world.job(job_id).state, world.job(job_id).attempt) == (state, 1)
    assert world.delivery(delivery_id).status == status
    assert len(world.attempts(delivery_id)) == 1
    assert ends.all == [outcome.result]


def test_an_effect_in_a_transaction_whose_commit_was_not_answered_stands_once(world: Any, network: Network) -> None:
    delivery_id, job_id = world.add(URL, push=False)
    made = runtime(network.engine, Transactional(), recorder=(ends := Ends()))
    [started] = made.claim([job_id]).started
    ended = made.run(started)
    network.lose("COMMIT")

    assert stored(made, ended) == "stored"

    assert world.job(job_id).state == "done"
    assert world.delivery(delivery_id).headers == {"effect": 1}
    assert ends.all == ["done"]


def test_an_end_is_stored_also_when_the_job_runs_elsewhere_by_then(
    world: Any, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was to be tried again at once, and another worker was quicker than the repetition."""
    _, job_id = world.add(URL, push=False)
    made = runtime(network.engine, handler := Deliveries(RETRY))
    other = runtime(world.engine, handler, worker="two")
    [started] = made.claim([job_id]).started
    taken: list[Any] = []

    def claimed_meanwhile(_: float) -> None:
        while not taken:
            taken.extend(other.claim([job_id]).started)

    network.lose(FINISH)
    monkeypatch.setattr("app.queue.runtime.time.sleep", claimed_meanwhile)

    assert stored(made, made.run(started)) == "stored"
    assert (world.job(job_id).attempt, world.job(job_id).claimed_by) == (2, "two")


def test_a_lost_lease_is_still_a_lost_result(world: Any, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was stored before the network went away, and another worker ended the job in its own way."""
    delivery_id, job_id = world.add(URL, push=False)
    made = runtime(network.engine, Deliveries(DEAD), recorder=(ends := Ends()))
    other = runtime(world.engine, Deliveries(DONE), worker="two")
    [started] = made.claim([job_id]).started
    ended = made.run(started)
    monkeypatch.setattr(made, "_lease_over", lambda _: bool(ends.all))

    def taken_over(_: float) -> None:
        let_lease_end(world, job_id)
        sweep(world, Deliveries(DONE))
        [again] = other.claim([job_id]).started
        other.store([other.run(again)])
        ends.all.append("other")

    with monkeypatch.context() as patch:
        patch.setattr("app.queue.runtime.time.sleep", taken_over)
        patch.setattr("app.queue.runtime.claim.finish", _fails_once(_outage()))
        assert stored(made, ended) == "lost"

    assert world.delivery(delivery_id).status == "delivered"
    assert len(world.attempts(delivery_id)) == 1
    assert ends.all == ["other", "lost"]


def test_a_forgotten_claim_is_not_taken_for_a_stored_end(
    world: Any, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Claims do not wait for the disk: Postgres may come back from a crash without one, well within its lease."""
    delivery_id, job_id = world.add(URL, push=False)
    made = runtime(network.engine, Deliveries(DONE))
    [started] = made.claim([job_id]).started

    def forget(_: float) -> None:
        with world.engine.begin() as connection:
            connection.execute(
                update(Job)
                .where(Job.id == job_id)
                .values(state="pending", attempt=0, claimed_by=None, lease_until=None)
            )

    with monkeypatch.context() as patch:
        patch.setattr("app.queue.runtime.time.sleep", forget)
        patch.setattr("app.queue.runtime.claim.finish", _fails_once(_outage()))
        assert stored(made, made.run(started)) == "lost"

    assert world.attempts(delivery_id) == []
    assert world.job(job_id).state == "pending"


def _fails_once(error: Exception) -> Any:
    from app.queue import claims as claim

    finish, errors = claim.finish, [error]

    def fails(*given: Any, **how: Any) -> Any:
        if errors:
            raise errors.pop()
        return finish(*given, **how)

    return fails


# -- neighbours


def test_a_sweep_whose_commit_was_not_answered_is_finished_by_the_next(world: Any, network: Network) -> None:
    _, job_id = world.add(URL, push=False)
    handler = Deliveries(DONE)
    runtime(world.engine, handler, worker="gone").claim([job_id])
    let_lease_end(world, job_id)
    sweeper = Sweeper(engine=network.engine, queue=world.queue, handlers={"delivery": handler}, interval=0.0)
    network.lose("COMMIT")
    with pytest.raises(Exception, match="closed the connection"):
        sweeper.sweep()

    sweeper.sweep()

    assert world.queue.waiting_ids() == {str(job_id)}
    assert (world.job(job_id).state, world.job(job_id).attempt) == ("pending", 1)


# -- two attempts of one job in one worker


def test_the_end_of_an_attempt_forgets_no_other(world: Any) -> None:
    """The first outlasted its lease, and the same worker has taken the job again."""
    _, job_id = world.add(URL, push=False)
    made = runtime(world.engine, Deliveries(DONE))
    [first] = made.claim([job_id]).started
    let_lease_end(world, job_id)
    [second] = made.claim([job_id]).started
    assert stored(made, made.run(first)) == "lost"

    made.hand_back()

    assert (world.job(job_id).state, world.job(job_id).attempt) == ("pending", 1)
    assert second.claimed.attempt == 2


def test_nor_does_it_when_both_have_the_same_number(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that did not count is over in Postgres, claimed again here, and only then noted as over."""
    _, job_id = world.add(URL, push=False)
    made = runtime(world.engine, Deliveries(Outcome(result="wait")))
    [first] = made.claim([job_id]).started
    settle, seconds = made._settle, []

    def late(fates: Any) -> None:
        if not seconds:
            with world.engine.begin() as connection:
                connection.execute(update(Job).where(Job.id == job_id).values(run_at=datetime.now(UTC)))
            seconds.extend(made.claim([job_id]).started)
        settle(fates)

    monkeypatch.setattr(made, "_settle", late)
    made.store([made.run(first)])

    assert seconds[0].claimed.attempt == first.claimed.attempt
    assert [claimed for claimed, _ in made.held.values()] == [seconds[0].claimed]


def test_a_job_for_which_no_slot_was_free_keeps_its_last_error(world: Any) -> None:
    delivery_id, job_id = world.add(URL, push=False)
    said = "the receiver answered 500"
    with world.engine.begin() as connection:
        connection.execute(update(Delivery).where(Delivery.id == delivery_id).values(last_error=said))
        connection.execute(update(Job).where(Job.id == job_id).values(last_error=said))
    made = runtime(world.engine, Deliveries(DONE))
    [started] = made.claim([job_id]).started

    made.hand_back([started.claimed], error=None)

    assert (world.job(job_id).state, world.job(job_id).attempt) == ("pending", 0)
    assert world.job(job_id).last_error == said
    assert (world.delivery(delivery_id).status, world.delivery(delivery_id).last_error) == ("pending", said)
