"""The Postgres of the simulation: rows, row locks, transactions and sessions, as far as the queue asks for them.

A statement is a generator that yields whenever the server would wait: a number of seconds, or a lock that somebody else
has. So it does not depend on its client, which may be gone before it ends. Isolation is READ COMMITTED: a statement
sees what was committed when it began, and looks again at a row that it had to wait for.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable
from typing import Any

import psycopg
from psycopg import errors

Row = dict[str, Any]
Key = tuple[str, Hashable]
Wait = float | Key
Work = Generator[Wait, None, Any]
Done = Callable[[Any, Exception | None], None]

TABLES = ("jobs", "deliveries", "delivery_attempts")
_DEADLOCK_TIMEOUT = 1.0


class Transaction:
    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.at = server.now()
        """What its `now()` is."""
        self.snapshot: dict[str, dict[Hashable, Row]] = {}
        self.hurried = True
        """Whether its commit is on the disk when it is answered."""
        self.facts: list[tuple[Any, ...]] = []
        """What the oracle is to hear of once it is committed."""
        self._writes: dict[Key, Row | None] = {}
        self._locks: list[Key] = []

    @property
    def rng(self) -> random.Random:
        return self.server.rng

    def begin_statement(self) -> None:
        self.snapshot = {name: dict(self.server.tables[name]) for name in TABLES}
        for (table, key), row in self._writes.items():
            if row is not None:
                self.snapshot[table][key] = row

    def latest(self, table: str, key: Hashable) -> Row | None:
        """The row as it is by now; to be asked for with its lock held."""
        if (table, key) in self._writes:
            return self._writes[table, key]
        return self.server.tables[table].get(key)

    def write(self, table: str, key: Hashable, row: Row) -> None:
        if self.server.read_only:
            raise errors.ReadOnlySqlTransaction("cannot execute in a read-only transaction")
        self._writes[table, key] = row

    def lock(self, key: Key) -> Generator[Wait, None, None]:
        holders = self.server.holders
        # Somebody else may come between two locks of one statement.
        if self.server.rng.random() < 0.3:
            yield self.server.rng.random() * self.server.pace
        while holders.setdefault(key, self) is not self:
            yield key
        if key not in self._locks:
            self._locks.append(key)

    def try_lock(self, key: Key) -> bool:
        if self.server.holders.setdefault(key, self) is not self:
            return False
        if key not in self._locks:
            self._locks.append(key)
        return True

    def plan_order(self, keys: Iterable[Any]) -> list[Any]:
        """In the order in which a plan comes across the rows, which is none."""
        shuffled = list(keys)
        self.server.rng.shuffle(shuffled)
        return shuffled

    def commit(self) -> None:
        if self._writes or self.facts:
            self.server.commit(self, self._writes)
        self._release()

    def rollback(self) -> None:
        self._release()

    def _release(self) -> None:
        for key in self._locks:
            if self.server.holders.get(key) is self:
                del self.server.holders[key]
                self.server.released(key)
        self._locks.clear()
        self._writes.clear()


class Session:
    """The server's side of a connection. One statement at a time."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.closed = False
        self.transaction: Transaction | None = None
        self.waits_for: Key | None = None
        self._work: Work | None = None
        self._done: Done | None = None
        self._closing = False
        server.sessions.append(self)

    @property
    def is_busy(self) -> bool:
        return self._work is not None

    def run(self, statement: Callable[[Transaction], Work], *, alone: bool, done: Done) -> None:
        """`alone`: the statement is a transaction."""
        if self.closed:
            done(None, lost("server closed the connection unexpectedly"))
            return
        if self.transaction is None:
            self.transaction = Transaction(self.server)
        self.transaction.begin_statement()
        self._work, self._done = statement(self.transaction), self._wrapped(done, alone=alone)
        self._advance()

    def _wrapped(self, done: Done, *, alone: bool) -> Done:
        def ended(result: Any, error: Exception | None) -> None:
            if self.transaction is not None and (error is not None or alone):
                if error is None:
                    self.transaction.commit()
                else:
                    self.transaction.rollback()
                self.transaction = None
            done(result, error)

        return ended

    def end(self, *, commit: bool) -> None:
        if self.transaction is not None:
            if commit:
                self.transaction.commit()
            else:
                self.transaction.rollback()
            self.transaction = None

    def cancel(self, error: Exception | None = None) -> None:
        """End the statement under way, if there is one."""
        if self._work is not None:
            self._advance(error or errors.QueryCanceled("canceling statement due to user request"))

    def close(self) -> None:
        """The client is gone. The server finds out when the statement under way has ended."""
        self._closing = True
        if self._work is None:
            self.abort(None)

    def abort(self, error: Exception | None) -> None:
        """At once, whatever is under way."""
        self.closed = True
        if self in self.server.sessions:
            self.server.sessions.remove(self)
        work, done = self._work, self._done
        self._work = self._done = None
        if work is not None:
            work.close()
        if done is not None:
            done(None, error or lost("server closed the connection unexpectedly"))
        self.end(commit=False)

    def _advance(self, error: Exception | None = None) -> None:
        work = self._work
        if work is None:
            return
        self.waits_for = None
        try:
            wait = next(work) if error is None else work.throw(error)
        except StopIteration as stop:
            self._ended(stop.value, None)
        except psycopg.Error as raised:
            self._ended(None, raised)
        else:
            if isinstance(wait, float):
                self.server.later(wait, lambda: self._resume(work))
            else:
                self.waits_for = wait
                self.server.waiting.setdefault(wait, deque()).append(self)
                self.server.later(_DEADLOCK_TIMEOUT, lambda: self._check_deadlock(work, wait))

    def _resume(self, work: Work) -> None:
        if self._work is work and self.waits_for is None:
            self._advance()

    def lock_is_free(self, key: Key) -> None:
        if self.waits_for == key:
            self._advance()

    def _check_deadlock(self, work: Work, key: Key) -> None:
        if self._work is not work or self.waits_for != key:
            return
        seen: list[Session] = [self]
        while (holder := self.server.holder_of(seen[-1].waits_for)) is not None:
            if holder is self:
                self.server.deadlocks.append(f"two transactions wait for each other's rows: {key}")
                self.cancel(errors.DeadlockDetected("deadlock detected"))
                return
            if holder in seen or holder.waits_for is None:
                return
            seen.append(holder)

    def _ended(self, result: Any, error: Exception | None) -> None:
        done = self._done
        self._work = self._done = None
        assert done is not None
        done(result, error)
        if self._closing and not self.closed:
            self.abort(None)


class PostgresServer:
    def __init__(
        self, *, rng: random.Random, now: Callable[[], float], later: Callable[[float, Callable[[], None]], Any]
    ) -> None:
        self.rng, self.now, self.later = rng, now, later
        self.tables: dict[str, dict[Hashable, Row]] = {name: {} for name in TABLES}
        self.sessions: list[Session] = []
        self.holders: dict[Key, Transaction] = {}
        self.waiting: dict[Key, deque[Session]] = {}
        self.up, self.read_only = True, False
        self.pace = 0.002
        """Seconds between two locks of a statement, at most."""
        self.deadlocks: list[str] = []
        """Those that nobody injected."""
        self.committed: Callable[[tuple[Any, ...]], None] = lambda _: None
        self._unflushed: list[tuple[float, dict[Key, Row | None], Transaction]] = []
        self.forgotten: Callable[[tuple[Any, ...]], None] = lambda _: None

    def holder_of(self, key: Key | None) -> Session | None:
        transaction = None if key is None else self.holders.get(key)
        return next((one for one in self.sessions if transaction and one.transaction is transaction), None)

    def released(self, key: Key) -> None:
        for session in self.waiting.pop(key, ()):
            self.later(0.0, lambda session=session: session.lock_is_free(key))  # type: ignore[misc]

    def commit(self, transaction: Transaction, writes: dict[Key, Row | None]) -> None:
        before = {(table, key): self.tables[table].get(key) for table, key in writes}
        for (table, key), row in writes.items():
            assert row is not None
            self.tables[table][key] = row
        if transaction.hurried:
            self._unflushed.clear()
        else:
            self._unflushed.append((self.now(), before, transaction))
        for fact in transaction.facts:
            self.committed(fact)

    def crash(self) -> None:
        """What was answered without waiting for the disk may be forgotten."""
        while self._unflushed:
            at, before, transaction = self._unflushed.pop()
            if self.now() - at > 0.6:
                break
            for (table, key), row in before.items():
                if row is not None:
                    self.tables[table][key] = row
            for fact in transaction.facts:
                self.forgotten(fact)
        self._unflushed.clear()
        self.stop()

    def stop(self) -> None:
        self.up = False
        for session in list(self.sessions):
            session.abort(errors.AdminShutdown("terminating connection due to administrator command"))


def lost(message: str) -> psycopg.OperationalError:
    """libpq's own word: no server said it, and there is no SQLSTATE."""
    return psycopg.OperationalError(message)
