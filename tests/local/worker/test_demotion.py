"""A server that takes no writes any more, with its sessions alive; sessions that lost what they kept; and results that
no server takes."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, insert, text
from sqlalchemy.exc import SQLAlchemyError

from app.db import engine as engines
from app.db import errors
from app.db.engine import sync_engine
from app.db.errors import Kind
from app.migrations.runner import MigrationError, migrate
from app.queue import job as jobs
from app.queue.attempts import Attempts
from app.queue.execute import attempt
from app.queue.gate import DatabaseGate
from app.queue.handler import Effects
from app.queue.job import Outcome
from app.queue.leases import JobsNotStartedError
from app.queue.models import Job
from app.queue.records import Records
from app.settings import Settings

pytestmark = [pytest.mark.local, pytest.mark.timeout(60)]


def settings(url: str) -> Settings:
    return Settings.load({"MODE": "migrate", "ENVIRONMENT": "test", "DATABASE_URL": url, "DATABASE_POOL_SIZE": "5"})


@pytest.fixture
def engine(migrated_url: str) -> Iterator[Engine]:
    made = sync_engine(settings(migrated_url))
    yield made
    made.dispose()


Demoted = Callable[[], contextlib.AbstractContextManager[None]]


def add_job(engine: Engine, **values: Any) -> uuid.UUID:
    row = {"id": uuid.uuid4(), "kind": "delivery", "queue": "webhook-processor", "subject_id": uuid.uuid4()}
    with engine.begin() as connection:
        connection.execute(insert(Job), [{**row, "max_attempts": 3, **values}])
    return row["id"]  # type: ignore[return-value]


def pin(engine: Engine, count: int) -> None:
    """Idle connections of the pool become ones to a server that was demoted: new ones are to one that was not."""
    connections = [engine.connect() for _ in range(count)]
    for connection in connections:
        connection.execute(text("SET default_transaction_read_only = on"))
        connection.commit()
    for connection in connections:
        connection.close()


def test_old_connections_to_a_demoted_server_are_dropped_with_the_first_refusal(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_READ_ONLY_SECONDS", 60.0)
    pin(engine, 3)

    with pytest.raises(SQLAlchemyError) as refused:
        add_job(engine)

    assert errors.kind(refused.value) is Kind.READ_ONLY
    for _ in range(5):
        add_job(engine)


def test_they_are_dropped_unasked_when_they_are_only_read_through(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that is only asked would show the old server's rows for half an hour."""
    monkeypatch.setattr(engines, "_READ_ONLY_SECONDS", 0.0)
    pin(engine, 3)

    for _ in range(5):
        with engine.begin() as connection:
            assert connection.execute(text("SHOW default_transaction_read_only")).scalar() == "off"


def test_a_server_that_takes_no_writes_is_read_through_one_connection_for_a_while(
    engine: Engine, demoted: Demoted
) -> None:
    def serving() -> Any:
        with engine.begin() as connection:
            return connection.execute(text("SELECT pg_backend_pid()")).scalar()

    with demoted():
        assert len({serving() for _ in range(5)}) == 1


def test_a_kept_plan_that_does_not_fit_any_more_is_made_anew(engine: Engine, migrated_url: str) -> None:
    with psycopg.connect(migrated_url, autocommit=True) as owner:
        owner.execute("CREATE TABLE changing (a int)")

        def read() -> list[str]:
            with engine.begin() as connection:
                return list(connection.execute(text("SELECT * FROM changing")).keys())

        for _ in range(8):
            read()
        owner.execute("ALTER TABLE changing ALTER a TYPE text")
        with pytest.raises(SQLAlchemyError) as stale:
            read()
        assert (errors.sqlstate(stale.value), errors.kind(stale.value)) == ("0A000", Kind.STALE)
        for _ in range(8):
            read()
        owner.execute("ALTER TABLE changing ALTER a TYPE int USING 1")

        assert errors.again(read) == ["a"]


def test_a_kept_statement_that_is_gone_is_prepared_anew(engine: Engine) -> None:
    def read() -> Any:
        with engine.begin() as connection:
            return connection.execute(text("SELECT :n + 1"), {"n": 1}).scalar()

    for _ in range(8):
        read()
    with engine.connect() as connection:
        raw: Any = connection.connection.driver_connection
        raw.pgconn.exec_(b"DEALLOCATE ALL")
    with pytest.raises(SQLAlchemyError) as gone:
        read()
    assert (errors.sqlstate(gone.value), errors.kind(gone.value)) == ("26000", Kind.STALE)
    for _ in range(8):
        read()
    with engine.connect() as connection:
        raw = connection.connection.driver_connection
        raw.pgconn.exec_(b"DEALLOCATE ALL")

    assert errors.again(read) == 2


@pytest.mark.parametrize(
    ("setting", "state"),
    [("idle_in_transaction_session_timeout", "25P03"), ("transaction_timeout", "25P04")],
)
def test_a_session_that_the_server_ended_takes_no_other_along(
    engine: Engine, eventually: Any, setting: str, state: str
) -> None:
    other = engine.connect()
    kept = other.connection.driver_connection

    def dawdle() -> None:
        with engine.begin() as connection:
            raw: Any = connection.connection.driver_connection
            pid = raw.info.backend_pid
            connection.execute(text(f"SET LOCAL {setting} = '20ms'"))
            count = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
            eventually(lambda: other.execute(count, {"pid": pid}).scalar() == 0)
            connection.execute(text("SELECT 1"))

    with pytest.raises(SQLAlchemyError) as ended:
        dawdle()
    assert (errors.sqlstate(ended.value), errors.kind(ended.value)) == (state, Kind.ENDED)
    other.close()
    with engine.connect() as again:
        assert again.connection.driver_connection is kept


class Plain:
    lease = 30.0

    @property
    def effects(self) -> Effects:
        begin = "SELECT subject_id AS id, json_build_object('id', job_id) AS work FROM {mine} AS claimed"
        return Effects(begin=begin, also=self.store)

    def run(self, work: Any, job: Any) -> Outcome:
        return Outcome(result="done")

    def store(self, connection: Any, ended: Any) -> None:
        pass


def attempts(engine: Engine, handler: Any) -> Attempts:
    handlers = {"delivery": handler}
    return Attempts(
        records=Records(engine, handlers), handlers=handlers, worker="w", backoff_base=0.01, backoff_cap=0.01
    )


def claim_and_run(made: Attempts, *job_ids: uuid.UUID, claimed_at: float | None = None) -> list[jobs.Job]:
    taken = made.claim([jobs.Job(id=job_id) for job_id in job_ids])
    for job in taken:
        job.claimed_at = job.claimed_at if claimed_at is None else claimed_at
        made.run(job)
    return taken


def store(made: Attempts, ended: list[jobs.Job]) -> dict[uuid.UUID, str]:
    """What came of each."""
    made.store(ended)
    return {job.id: job.stored_as or "waiting" for job in ended}


def test_results_wait_for_a_server_that_takes_writes_within_their_lease(
    engine: Engine, world: Any, demoted: Demoted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.queue.attempts._STORE_PAUSE", 0.0)
    made = attempts(engine, Plain())
    job_id, late = add_job(engine), add_job(engine)
    ended = claim_and_run(made, job_id, late)
    for job in ended:
        job.claimed_at = -1000.0 if job.id == late else job.claimed_at
    with demoted():
        fates = store(made, ended)
        assert fates == {job_id: "waiting", late: "unstored"}
        assert set(made.held) == {(job_id, 1)}
        with pytest.raises(JobsNotStartedError, match="ReadOnlySqlTransaction"):
            made.claim([jobs.Job(id=uuid.uuid4())])

    waiting = [job for job in ended if job.id == job_id]
    assert store(made, waiting) == {job_id: "stored"}
    assert (world.job(job_id).state, world.job(job_id).last_error) == ("done", None)
    assert made.held == {}


def test_an_attempt_by_rq_itself_waits_too(
    engine: Engine, world: Any, demoted: Demoted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the server demoted in the middle of the job, and back after its result was refused twice."""
    monkeypatch.setattr("app.queue.attempts._STORE_PAUSE", 0.0)
    job_id = add_job(engine)
    handler, stack, refused = Plain(), contextlib.ExitStack(), []

    def run(work: Any, job: Any) -> Outcome:
        stack.enter_context(demoted())
        return Outcome(result="done")

    def not_stored(self: Attempts, job: Any, error: Exception) -> None:
        refused.append(errors.kind(error))
        if len(refused) == 2:
            stack.close()

    handler.run = run  # type: ignore[method-assign]
    monkeypatch.setattr(Attempts, "_not_stored", not_stored)

    assert attempt(attempts(engine, handler), job_id) is None

    assert set(refused) == {Kind.READ_ONLY}
    assert world.job(job_id).state == "done"


def test_no_job_is_taken_from_a_server_that_takes_no_writes(engine: Engine, demoted: Demoted) -> None:
    with demoted():
        assert not DatabaseGate(engine).is_open()
    assert DatabaseGate(engine).is_open()


class Unstorable(Plain):
    """One job's effect is more than the database takes, which psycopg calls an OperationalError."""

    def __init__(self, job_id: uuid.UUID) -> None:
        self._job_id = job_id

    def store(self, connection: Any, ended: Any) -> None:
        for job in ended:
            if job.id == self._job_id and job.ended_as.result == "done":
                connection.execute(text("SELECT CAST(repeat('[', 100000) AS jsonb)"))


def test_a_result_that_cannot_be_stored_holds_up_no_other_and_is_a_failed_attempt(engine: Engine, world: Any) -> None:
    ids = [add_job(engine) for _ in range(5)]
    made = attempts(engine, Unstorable(ids[2]))
    # The lease of all is over: whoever waits for it to end gives up at once.
    ended = claim_and_run(made, *ids, claimed_at=-1000.0)

    made.store(ended)
    fates = {job.id: (job.stored_as, job.ended_as.result) for job in ended}

    assert fates == {job_id: ("stored", "retry" if job_id == ids[2] else "done") for job_id in ids}
    assert [world.job(job_id).state for job_id in ids] == ["done", "done", "pending", "done", "done"]
    assert (world.job(ids[2]).attempt, world.job(ids[2]).last_error) == (1, "the result cannot be stored")


def test_the_last_attempt_whose_result_cannot_be_stored_says_so(engine: Engine, world: Any) -> None:
    job_id = add_job(engine, max_attempts=1)
    made = attempts(engine, Unstorable(job_id))

    made.store(claim_and_run(made, job_id))

    assert world.job(job_id).state == "dead"
    assert world.job(job_id).last_error == "the result cannot be stored (attempt 1 of 1)"


def test_a_row_that_is_busy_keeps_no_other_waiting(
    engine: Engine, world: Any, migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.queue.attempts._STORE_PAUSE", 0.0)
    busy, *free = [add_job(engine) for _ in range(4)]
    made = attempts(engine, Plain())
    ended = claim_and_run(made, busy, *free)
    with psycopg.connect(migrated_url) as somebody, engine.connect() as first:
        for connection in (first, engine.connect()):
            connection.execute(text("SET lock_timeout = '20ms'"))
            connection.commit()
            connection.close()
        somebody.execute("SELECT 1 FROM jobs WHERE id = %s FOR UPDATE", [busy])
        fates = store(made, ended)

    assert fates == {busy: "waiting", **dict.fromkeys(free, "stored")}


def test_a_job_whose_result_was_not_stored_in_time_does_not_say_that_its_worker_stopped(
    engine: Engine, world: Any
) -> None:
    from app.queue.sweeper import Sweeper

    past = datetime.now(UTC) - timedelta(seconds=1)
    job_id = add_job(engine, state="running", attempt=1, lease_until=past, claimed_by="well")

    Sweeper(records=Records(engine, {}), wakeups=world.queue, interval=60).sweep()

    assert world.job(job_id).last_error == (
        "the attempt's result was not stored within its lease; the request may have been sent"
    )


def test_a_migration_says_where_it_is(migrated_url: str, demoted: Demoted) -> None:
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
        connection.execute("DROP INDEX ix_jobs_dead")
    with demoted(), pytest.raises(MigrationError, match="takes no writes"):
        migrate(settings(migrated_url))
