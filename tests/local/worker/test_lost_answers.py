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

from app.deliveries.job import DeliveryHandler
from app.deliveries.models import Delivery
from app.queue import job as jobs
from app.queue.attempts import Attempts
from app.queue.execute import attempt
from app.queue.handler import Effects
from app.queue.job import Outcome
from app.queue.leases import JobsNotStartedError
from app.queue.models import Job
from app.queue.records import Records
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

    def run(self, work: Any, job: jobs.Job) -> Outcome:
        self.sent.append((job.id, job.attempt))
        made = {
            "started_at": datetime.now(UTC).isoformat(),
            "duration_ms": 1,
            "status_code": 200,
            "error": self.outcome.error,
            "response_excerpt": None,
        }
        return Outcome(result=self.outcome.result, error=self.outcome.error, at_least=0.01, detail=made)


class WithMore:
    """A handler whose effects take a transaction of several statements."""

    lease = 30.0

    @property
    def effects(self) -> Effects:
        return Effects(
            begin="SELECT subject_id AS id, json_build_object('id', job_id) AS work FROM {mine} AS claimed",
            also=self.store,
        )

    def run(self, work: Any, job: jobs.Job) -> Outcome:
        return Outcome(result="done")

    def store(self, connection: Any, ended: Any) -> None:
        for job in ended:
            effect = "UPDATE deliveries SET headers = headers || '{\"effect\": 1}' WHERE id = :id"
            connection.execute(text(effect), {"id": job.subject_id})


class Ends:
    """A recorder."""

    def __init__(self) -> None:
        self.all: list[str] = []

    def started(self, kind: str, wait_seconds: float) -> None:
        pass

    def ended(self, kind: str, outcome: str, seconds: float) -> None:
        self.all.append(outcome)


def attempts(engine: Engine, handler: Any, *, worker: str = "one", recorder: Any = None) -> Attempts:
    handlers = {"delivery": handler}
    return Attempts(
        records=Records(engine, handlers),
        handlers=handlers,
        worker=worker,
        backoff_base=0.01,
        backoff_cap=0.01,
        recorder=recorder or Ends(),
    )


def claim(made: Attempts, *job_ids: uuid.UUID) -> list[jobs.Job]:
    """Those that were won."""
    return made.claim([jobs.Job(id=job_id) for job_id in job_ids])


DONE = Outcome(result="done")
RETRY = Outcome(result="retry", error="the receiver answered 500")
DEAD = Outcome(result="dead", error="the receiver answered 400")


def sweep(world: Any, handler: Any) -> Any:
    records = Records(world.engine, {"delivery": handler})
    sweeper = Sweeper(records=records, wakeups=world.queue, interval=0.0)
    return sweeper.sweep()


def let_lease_end(world: Any, job_id: uuid.UUID) -> None:
    with world.engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET lease_until = now() - interval '1 s' WHERE id = :id"), {"id": job_id})


# -- the claim


def test_a_claim_that_is_repeated_is_the_same_attempt(world: Any, network: Network) -> None:
    delivery_id, job_id = world.add(URL, push=False, max_attempts=1)
    made = attempts(network.engine, handler := Deliveries(DONE))
    network.lose(CLAIM)
    with pytest.raises(JobsNotStartedError):
        claim(made, job_id)
    assert (world.job(job_id).state, world.job(job_id).attempt) == ("running", 1)

    [started] = claim(made, job_id)
    assert stored(made, started) == "stored"

    assert handler.sent == [(job_id, 1)]
    assert world.delivery(delivery_id).status == "delivered"
    assert made.held == {}


def test_a_claim_without_an_answer_is_given_back_and_counts_nothing(world: Any, network: Network) -> None:
    """Another worker has taken the id from the queue meanwhile, and was refused."""
    delivery_id, job_id = world.add(URL, push=False, max_attempts=1)
    made = attempts(network.engine, handler := Deliveries(DONE))
    other = attempts(world.engine, handler, worker="two")
    network.lose(CLAIM)
    with pytest.raises(JobsNotStartedError):
        claim(made, job_id)
    assert claim(other, job_id) == []

    made.recover()

    job = world.job(job_id)
    assert (job.state, job.attempt, job.claimed_by, job.enqueued_at) == ("pending", 0, None, None)
    assert world.delivery(delivery_id).status == "pending"
    [started] = claim(other, job_id)
    assert stored(other, started) == "stored"
    made.recover()
    assert world.job(job_id).state == "done"


def test_its_end_gives_back_what_a_worker_does_not_know_that_it_has(world: Any, network: Network) -> None:
    _, job_id = world.add(URL, push=False, max_attempts=1)
    made = attempts(network.engine, Deliveries(DONE))
    network.lose(CLAIM)
    with pytest.raises(JobsNotStartedError):
        claim(made, job_id)

    assert made.unanswered
    made.release()

    assert (world.job(job_id).state, world.job(job_id).attempt) == ("pending", 0)
    assert not made.unanswered


def test_a_claim_that_is_committed_after_it_was_looked_for_is_found_later(
    world: Any, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network went away before the server had the row's lock."""
    _, job_id = world.add(URL, push=False, max_attempts=1)
    made = attempts(network.engine, Deliveries(DONE))
    with monkeypatch.context() as patch:
        patch.setattr("app.queue.statements.Statements.claim", lambda *_, **__: (_ for _ in ()).throw(_outage()))
        with pytest.raises(JobsNotStartedError):
            claim(made, job_id)
    made.recover()
    late = attempts(world.engine, Deliveries(DONE))
    claim(late, job_id)

    made.recover()

    assert (world.job(job_id).state, world.job(job_id).attempt) == ("pending", 0)


def test_what_is_under_way_is_not_taken_for_a_claim_without_an_answer(world: Any, network: Network) -> None:
    _, first = world.add(URL, push=False)
    _, second = world.add(URL, push=False)
    made = attempts(network.engine, handler := Deliveries(DONE))
    network.lose(CLAIM)
    with pytest.raises(JobsNotStartedError):
        claim(made, first, second)

    taken = claim(made, first, second)
    made.recover()

    assert sorted(world.job(job_id).state for job_id in (first, second)) == ["running", "running"]
    for job in taken:
        made.run(job)
    assert [job.stored_as for job in made.store(taken)] == ["stored", "stored"]
    assert sorted(handler.sent) == sorted([(first, 1), (second, 1)])


def test_a_plain_rq_worker_gives_it_back_before_it_ends(world: Any, network: Network) -> None:
    _, job_id = world.add(URL, push=False, max_attempts=1)
    network.lose(CLAIM)

    with pytest.raises(JobsNotStartedError):
        attempt(attempts(network.engine, Deliveries(DONE)), job_id)

    assert (world.job(job_id).state, world.job(job_id).attempt) == ("pending", 0)


def stored(made: Attempts, job: jobs.Job) -> str | None:
    """What becomes of it at last, once it has run: the worker gives again what is to wait."""
    if job.outcome is None:
        made.run(job)
    while job.stored_as is None:
        made.store([job])
    return job.stored_as


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
    made = attempts(network.engine, Deliveries(outcome), recorder=(ends := Ends()))
    [started] = claim(made, job_id)
    network.lose(*[FINISH] * times)

    fate = stored(made, started)

    assert (fate, network.still_to_lose) == ("stored", [])
    assert (world.job(job_id).state, world.job(job_id).attempt) == (state, 1)
    assert world.delivery(delivery_id).status == status
    assert len(world.attempts(delivery_id)) == 1
    assert ends.all == [outcome.result]


def test_an_effect_in_a_transaction_whose_commit_was_not_answered_stands_once(world: Any, network: Network) -> None:
    delivery_id, job_id = world.add(URL, push=False)
    made = attempts(network.engine, WithMore(), recorder=(ends := Ends()))
    [started] = claim(made, job_id)
    made.run(started)
    network.lose("COMMIT")

    assert stored(made, started) == "stored"

    assert world.job(job_id).state == "done"
    assert world.delivery(delivery_id).headers == {"effect": 1}
    assert ends.all == ["done"]


def test_an_end_is_stored_also_when_the_job_runs_elsewhere_by_then(
    world: Any, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was to be tried again at once, and another worker was quicker than the repetition."""
    _, job_id = world.add(URL, push=False)
    made = attempts(network.engine, handler := Deliveries(RETRY))
    other = attempts(world.engine, handler, worker="two")
    [started] = claim(made, job_id)
    taken: list[Any] = []

    def claimed_meanwhile(_: float) -> None:
        while not taken:
            taken.extend(claim(other, job_id))

    network.lose(FINISH)
    monkeypatch.setattr("app.queue.attempts.time.sleep", claimed_meanwhile)

    assert stored(made, started) == "stored"
    assert (world.job(job_id).attempt, world.job(job_id).claimed_by) == (2, "two")


def test_a_lost_lease_is_still_a_lost_result(world: Any, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was stored before the network went away, and another worker ended the job in its own way."""
    delivery_id, job_id = world.add(URL, push=False)
    made = attempts(network.engine, Deliveries(DEAD), recorder=(ends := Ends()))
    other = attempts(world.engine, Deliveries(DONE), worker="two")
    [started] = claim(made, job_id)
    made.run(started)
    monkeypatch.setattr(jobs.Job, "lease_over", property(lambda _: bool(ends.all)))

    def taken_over(_: float) -> None:
        let_lease_end(world, job_id)
        sweep(world, Deliveries(DONE))
        [again] = claim(other, job_id)
        other.run(again)
        other.store([again])
        ends.all.append("other")

    with monkeypatch.context() as patch:
        patch.setattr("app.queue.attempts.time.sleep", taken_over)
        patch.setattr("app.queue.statements.Statements.store", _fails_once(_outage()))
        assert stored(made, started) == "lost"

    assert world.delivery(delivery_id).status == "delivered"
    assert len(world.attempts(delivery_id)) == 1
    assert ends.all == ["other", "lost"]


def test_a_forgotten_claim_is_not_taken_for_a_stored_end(
    world: Any, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Claims do not wait for the disk: Postgres may come back from a crash without one, well within its lease."""
    delivery_id, job_id = world.add(URL, push=False)
    made = attempts(network.engine, Deliveries(DONE))
    [started] = claim(made, job_id)

    def forget(_: float) -> None:
        with world.engine.begin() as connection:
            connection.execute(
                update(Job)
                .where(Job.id == job_id)
                .values(state="pending", attempt=0, claimed_by=None, lease_until=None)
            )

    with monkeypatch.context() as patch:
        patch.setattr("app.queue.attempts.time.sleep", forget)
        patch.setattr("app.queue.statements.Statements.store", _fails_once(_outage()))
        assert stored(made, started) == "lost"

    assert world.attempts(delivery_id) == []
    assert world.job(job_id).state == "pending"


def _fails_once(error: Exception) -> Any:
    from app.queue.statements import Statements

    finish, errors = Statements.store, [error]

    def fails(*given: Any, **how: Any) -> Any:
        if errors:
            raise errors.pop()
        return finish(*given, **how)

    return fails


# -- neighbours


def test_a_sweep_whose_commit_was_not_answered_is_finished_by_the_next(world: Any, network: Network) -> None:
    _, job_id = world.add(URL, push=False)
    handler = Deliveries(DONE)
    claim(attempts(world.engine, handler, worker="gone"), job_id)
    let_lease_end(world, job_id)
    sweeper = Sweeper(records=Records(network.engine, {"delivery": handler}), wakeups=world.queue, interval=0.0)
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
    made = attempts(world.engine, Deliveries(DONE))
    [first] = claim(made, job_id)
    let_lease_end(world, job_id)
    [second] = claim(made, job_id)
    assert stored(made, first) == "lost"

    made.release()

    assert (world.job(job_id).state, world.job(job_id).attempt) == ("pending", 1)
    assert second.attempt == 2


def test_nor_does_it_when_both_have_the_same_number(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that did not count is over in Postgres, claimed again here, and only then noted as over."""
    _, job_id = world.add(URL, push=False)
    made = attempts(world.engine, Deliveries(Outcome(result="wait")))
    [first] = claim(made, job_id)
    settle, seconds = made._settle, []

    def late(settled: Any) -> None:
        if not seconds:
            with world.engine.begin() as connection:
                connection.execute(update(Job).where(Job.id == job_id).values(run_at=datetime.now(UTC)))
            seconds.extend(claim(made, job_id))
        settle(settled)

    monkeypatch.setattr(made, "_settle", late)
    made.run(first)
    made.store([first])

    assert seconds[0].attempt == first.attempt
    assert list(made.held.values()) == [seconds[0]]


def test_a_job_for_which_no_slot_was_free_keeps_its_last_error(world: Any) -> None:
    delivery_id, job_id = world.add(URL, push=False)
    said = "the receiver answered 500"
    with world.engine.begin() as connection:
        connection.execute(update(Delivery).where(Delivery.id == delivery_id).values(last_error=said))
        connection.execute(update(Job).where(Job.id == job_id).values(last_error=said))
    made = attempts(world.engine, Deliveries(DONE))
    [started] = claim(made, job_id)

    made.release([started], error=None)

    assert (world.job(job_id).state, world.job(job_id).attempt) == ("pending", 0)
    assert world.job(job_id).last_error == said
    assert (world.delivery(delivery_id).status, world.delivery(delivery_id).last_error) == ("pending", said)
