"""The program's engines, whose connections are the simulation's. Errors are psycopg's, as SQLAlchemy wraps them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Any

import psycopg
from psycopg import errors as states
from sqlalchemy import TextClause
from sqlalchemy.exc import DBAPIError

from simulated import expressions, statements, world
from simulated.postgres_server import Session, lost

_INJECTED = {
    "deadlock": states.DeadlockDetected,
    "serialization": states.SerializationFailure,
    "canceled": states.QueryCanceled,
    "timeout": states.IdleInTransactionSessionTimeout,
}


def wrapped(error: Exception, label: str) -> Exception:
    if isinstance(error, psycopg.Error):
        return DBAPIError.instance(label, {}, error, psycopg.Error, hide_parameters=True)
    return error


def label_of(statement: Any) -> str:
    if isinstance(statement, TextClause):
        for fragment, function in statements._STATEMENTS.items():
            if fragment in statement.text:
                return str(function.__name__).strip("_")
        return "probe"
    return f"{type(statement).__name__.lower()} {_table(statement)}"


def _table(statement: Any) -> str:
    if hasattr(statement, "table"):
        return str(statement.table.name)
    if (table := getattr(statement._raw_columns[0], "table", None)) is not None:
        return str(table.name)
    froms = statement.get_final_froms()
    return str(froms[0].name) if froms else "nothing"


def work_of(statement: Any, given: Any) -> Callable[[Any], Any]:
    if isinstance(statement, TextClause):
        bound = {name: one.value for name, one in statement._bindparams.items()}
        return lambda transaction: statements.execute(transaction, statement.text, {**bound, **(given or {})})
    return lambda transaction: expressions.execute(transaction, statement)


class Answer:
    """The rows of a statement, as far as the queue reads them in SQLAlchemy's ways."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = [_RowOf(row) for row in rows]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def all(self) -> list[Any]:
        return self._rows

    def scalars(self) -> Any:
        return _Scalars(next(iter(row._mapping.values())) for row in self._rows)

    def scalar(self) -> Any:
        return next(iter(self.scalars()), None)

    def one(self) -> Any:
        (row,) = self._rows
        return row

    def first(self) -> Any:
        return self._rows[0] if self._rows else None

    one_or_none = first

    def mappings(self) -> Any:
        return _Scalars(row._mapping for row in self._rows)


class _Scalars(list[Any]):
    def all(self) -> list[Any]:
        return self

    def one_or_none(self) -> Any:
        return self[0] if self else None


class _RowOf(SimpleNamespace):
    def __init__(self, row: dict[str, Any]) -> None:
        super().__init__(**row)
        self._mapping = row

    def __iter__(self) -> Iterator[Any]:
        return iter(self._mapping.values())


class _Exchange:
    """One statement on its way to the server and its answer on the way back. `answered` is called once, if ever."""

    def __init__(self, session: Session, label: str, start: Callable[[Callable[..., None]], None]) -> None:
        self.here = world.current()
        self._session, self._label, self._start = session, label, start
        self.result: Any = None
        self.error: Exception | None = None

    def begin(self, answered: Callable[[], None]) -> None:
        here, rng = self.here, self.here.scheduler.rng
        later = here.scheduler.call_later
        fault = here.plan.draw("postgres", self._label, here.scheduler.alive().process)
        delay, back = here.plan.latency(rng), here.plan.latency(rng)

        def fail(error: Exception, after: float, *, breaks: bool = True) -> None:
            self.error = error
            if breaks:
                later(after, self._session.close)
            later(after, answered)

        if not here.postgres.up or self._session.closed:
            fail(lost("connection to server failed"), rng.random() * 0.02)
        elif fault == "refused":
            fail(lost("could not send data to server"), rng.random() * 0.02)
        elif fault in _INJECTED:
            ended = fault == "timeout"
            later(delay, lambda: None if ended else self._session.end(commit=False))
            fail(_INJECTED[fault](f"injected {fault}"), delay, breaks=ended)
        elif fault == "late":
            # The client is told that the connection broke; the statement is on its way all the same.
            self._session_runs(
                rng.choice([rng.uniform(0.02, 3.0), rng.uniform(0.25, 0.8)]), lambda *_: self._session.close()
            )
            self.error = lost("server closed the connection unexpectedly")
            later(rng.random() * 0.02, answered)
        elif fault == "hang":
            # The network swallows it, and the client's kernel gives up at last.
            fail(lost("could not receive data from server: Connection timed out"), 30.0)
        elif fault == "lost":
            wait = rng.choice([0.001, 0.05, 1.0, 5.0])

            def done(*_: Any) -> None:
                fail(lost("server closed the connection unexpectedly"), wait)

            self._session_runs(delay, done)
        else:
            if fault == "slow":
                delay, back = rng.uniform(0.1, 2.0), rng.choice([0.001, rng.uniform(0.1, 3.0)])

            def done(result: Any, error: Exception | None) -> None:
                self.result, self.error = result, error
                later(back, answered)

            self._session_runs(delay, done)

    def _session_runs(self, delay: float, done: Callable[..., None]) -> None:
        def start() -> None:
            if self._session.closed:
                done(None, lost("server closed the connection unexpectedly"))
            else:
                self._start(done)

        self.here.scheduler.call_later(delay, start)


# -- for threads


class SimulatedEngine:
    def __init__(self, *, autocommit: bool = False) -> None:
        self._autocommit = autocommit

    def execution_options(self, *, isolation_level: str = "", **_: Any) -> SimulatedEngine:
        return SimulatedEngine(autocommit=isolation_level == "AUTOCOMMIT")

    @contextmanager
    def connect(self) -> Iterator[SimulatedConnection]:
        here = world.current()
        task = here.scheduler.alive()
        here.scheduler.point()
        if not here.postgres.up:
            here.scheduler.sleep(here.scheduler.rng.random() * 0.02)
            raise wrapped(lost("connection to server failed"), "connect")
        session = Session(here.postgres)
        task.process.at_end.append(session.close)
        connection = SimulatedConnection(session, autocommit=self._autocommit)
        try:
            yield connection
        finally:
            session.close()
            with contextlib.suppress(ValueError):
                task.process.at_end.remove(session.close)

    @contextmanager
    def begin(self) -> Iterator[SimulatedConnection]:
        with self.connect() as connection:
            yield connection
            connection.commit()

    def dispose(self) -> None:
        pass


class SimulatedConnection:
    def __init__(self, session: Session, *, autocommit: bool) -> None:
        self._session, self._autocommit = session, autocommit

    def execute(self, statement: Any, given: Any = None) -> Answer:
        label, work = label_of(statement), work_of(statement, given)
        return Answer(self._ask(label, lambda done: self._session.run(work, alone=self._autocommit, done=done)) or [])

    def scalar(self, statement: Any, given: Any = None) -> Any:
        return self.execute(statement, given).scalar()

    def scalars(self, statement: Any, given: Any = None) -> Any:
        return self.execute(statement, given).scalars()

    def commit(self) -> None:
        def end(done: Callable[..., None]) -> None:
            self._session.end(commit=True)
            done(None, None)

        self._ask("COMMIT", end)

    def rollback(self) -> None:
        self._session.end(commit=False)

    def _ask(self, label: str, start: Callable[[Callable[..., None]], None]) -> Any:
        scheduler = world.current().scheduler
        task = scheduler.alive()
        exchange = _Exchange(self._session, label, start)
        answers: list[bool] = []

        def answered() -> None:
            answers.append(True)
            scheduler.wake(task)

        exchange.begin(answered)
        while not answers:
            scheduler.wait()
        if exchange.error is not None:
            raise wrapped(exchange.error, label)
        scheduler.note(f"postgres {label}")
        return exchange.result


# -- for asyncio


class SimulatedAsyncEngine:
    """`pool`: connections that nobody uses. One is used again as it was left."""

    def __init__(self, *, autocommit: bool = False, pool: list[_Driver] | None = None) -> None:
        self._autocommit = autocommit
        self._pool: list[_Driver] = [] if pool is None else pool

    def execution_options(self, *, isolation_level: str = "", **_: Any) -> SimulatedAsyncEngine:
        return SimulatedAsyncEngine(autocommit=isolation_level == "AUTOCOMMIT", pool=self._pool)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[SimulatedAsyncConnection]:
        here = world.current()
        process = here.scheduler.alive().process
        for _ in range(here.scheduler.rng.randrange(3)):
            await asyncio.sleep(0)
        if not here.postgres.up:
            raise wrapped(lost("connection to server failed"), "connect")
        driver = self._pool.pop() if self._pool else None
        while driver is not None and driver.session.closed:
            driver = self._pool.pop() if self._pool else None
        if driver is None:
            driver = _Driver.to(Session(here.postgres))
            process.at_end.append(driver.session.close)
        connection = driver.user = SimulatedAsyncConnection(driver, autocommit=self._autocommit)
        try:
            yield connection
        finally:
            if connection.broken or driver.session.is_busy:
                driver.session.close()
            elif not driver.session.closed:
                driver.session.end(commit=False)
                self._pool.append(driver)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[SimulatedAsyncConnection]:
        async with self.connect() as connection:
            yield connection
            await connection.commit()


class _Driver(psycopg.AsyncConnection[Any]):
    """What the program asks to end a statement."""

    session: Session
    user: Any = None
    """Whoever has the connection."""

    def __init__(self) -> None:
        raise NotImplementedError

    def __del__(self) -> None:
        pass

    @classmethod
    def to(cls, session: Session) -> _Driver:
        driver = object.__new__(cls)
        driver.session = session
        return driver

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:  # noqa: ASYNC109 - psycopg's
        """The request arrives on a connection of its own, maybe when this one is at something else."""
        here = world.current()
        rng = here.scheduler.rng
        delay = rng.choice([0.0005, 0.01, rng.random()])
        asked_for = self.user

        def arrive() -> None:
            if self.session.is_busy and self.user is not asked_for:
                here.violation("a request to cancel ended a statement that it was not meant for")
            self.session.cancel()

        here.scheduler.call_later(delay, arrive)
        await asyncio.sleep(delay + 0.001)


class SimulatedAsyncConnection:
    def __init__(self, driver: _Driver, *, autocommit: bool) -> None:
        self._driver, self._autocommit = driver, autocommit
        self.broken = False
        self.sync_connection = SimpleNamespace(connection=SimpleNamespace(driver_connection=driver))

    async def execution_options(self, *, isolation_level: str = "", **_: Any) -> SimulatedAsyncConnection:
        self._autocommit = isolation_level == "AUTOCOMMIT"
        return self

    async def execute(self, statement: Any, given: Any = None) -> Answer:
        label, work = label_of(statement), work_of(statement, given)
        session = self._driver.session
        rows = await self._ask(label, lambda done: session.run(work, alone=self._autocommit, done=done))
        return Answer(rows or [])

    async def begin(self) -> SimulatedAsyncConnection:
        return self

    async def commit(self) -> None:
        def end(done: Callable[..., None]) -> None:
            self._driver.session.end(commit=True)
            done(None, None)

        await self._ask("COMMIT", end)

    async def invalidate(self) -> None:
        self.broken = True
        self._driver.session.close()

    async def _ask(self, label: str, start: Callable[[Callable[..., None]], None]) -> Any:
        here = world.current()
        loop: Any = asyncio.get_running_loop()
        answer: asyncio.Future[None] = loop.create_future()
        exchange = _Exchange(self._driver.session, label, start)
        exchange.begin(lambda: loop.tell(lambda: answer.done() or answer.set_result(None)))
        try:
            await asyncio.shield(answer)
        except asyncio.CancelledError:
            # As psycopg: it asks the server to stop, waits for that, and drops the outcome.
            here.scheduler.call_later(here.plan.latency(here.scheduler.rng), self._driver.session.cancel)
            try:
                await asyncio.wait_for(asyncio.shield(answer), 10.0)
            except (asyncio.CancelledError, TimeoutError):
                self.broken = True
                raise asyncio.CancelledError from None
            raise
        if exchange.error is not None:
            error = wrapped(exchange.error, label)
            self.broken = self.broken or (
                exchange.error.sqlstate is None if isinstance(exchange.error, psycopg.Error) else False
            )
            raise error
        here.scheduler.note(f"postgres {label}")
        return exchange.result
