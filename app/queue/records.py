"""Everything that the queue asks of Postgres, each question a transaction of its own.

Postgres is the record: what a job is, who may act on it, and what came of it. See app.queue.statements for the SQL.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import Connection, Engine, false, func, or_, select, tuple_, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app.db import errors, locks
from app.observability.logging import get_logger
from app.queue import statements
from app.queue.handler import Handler
from app.queue.job import INTERNAL_ERROR, Job, Outcome
from app.queue.models import Job as Row
from app.queue.statements import Statements

log = get_logger()

T = TypeVar("T")

_LOOK_AGAIN = 1.0
"""Seconds until a job is claimed again that could not be asked when it is due."""
_VALUES = "22"
"""The class of the SQLSTATEs for values that a statement cannot be evaluated with."""


class Records:
    """Of jobs whose kinds have these `handlers`. All methods raise SQLAlchemyError, with nothing done or with its
    answer lost; what another transaction kept from happening is tried again first."""

    def __init__(self, engine: Engine, handlers: Mapping[str, Handler]) -> None:
        effects = {kind: handler.effects for kind, handler in handlers.items()}
        leases = {kind: handler.lease for kind, handler in handlers.items()}
        self._engine = engine
        # Each statement is a transaction of its own.
        self._committing = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._also = {kind: one.also for kind, one in effects.items() if one.also is not None}
        self._statements = Statements(effects, leases)
        # The kinds that are parts alone are claimed first: the others' parts would cost their statement 0.3 ms.
        groups = [[kind for kind in effects if (kind in self._also) == also] for also in (False, True)]
        self._claims = [
            (Statements({kind: effects[kind] for kind in kinds}, of_kinds), Statements({}, of_kinds))
            for kinds in groups
            if (of_kinds := {kind: leases[kind] for kind in kinds})
        ]

    def claim(self, jobs: Sequence[Job], *, worker: str, at: float) -> list[Job]:
        """Take those of the jobs that can be taken, and fill them in; in no order. Of the others, those that are not
        due yet get the seconds to `wait`; the rest is done, dead, another worker's, or of a kind that this worker does
        not have: during a deployment an old worker meets new kinds, and leaves them to the new ones.

        `at`: monotonic time from which the leases are reckoned. A job whose handler's `begin` fails over its values
        keeps the others from nothing: it is claimed with an outcome, a failed attempt.
        """
        won: list[Job] = []
        for made, bare in self._claims:
            if left := [job for job in jobs if not job.kind]:
                won += self._claim(made, bare, left, worker, at)
        if left := [job for job in jobs if not job.kind]:
            self._look_up_waits(left)
        return won

    def _look_up_waits(self, jobs: Sequence[Job]) -> None:
        try:
            with self._committing.connect() as connection:
                statements.look_up_waits(connection, jobs)
        except SQLAlchemyError:
            # What was claimed is committed: a failure now would keep it from everybody until the leases end.
            for job in jobs:
                job.wait = _LOOK_AGAIN

    def _claim(self, made: Statements, bare: Statements, jobs: Sequence[Job], worker: str, at: float) -> list[Job]:
        def claim(one: Statements) -> list[Job]:
            with self._committing.connect() as connection:
                return one.claim(connection, jobs, worker=worker, at=at)

        try:
            return errors.again(lambda: claim(made))
        except DBAPIError as error:
            if not (errors.sqlstate(error) or "").startswith(_VALUES):
                raise
        if len(jobs) > 1:
            half = len(jobs) // 2
            return [
                *self._claim(made, bare, jobs[:half], worker, at),
                *self._claim(made, bare, jobs[half:], worker, at),
            ]
        log.error("job cannot be begun", job_id=str(jobs[0].id))
        won = errors.again(lambda: claim(bare))
        for job in won:
            job.outcome = Outcome(result="retry", error=INTERNAL_ERROR)
        return won

    def store(self, jobs: Sequence[Job]) -> set[uuid.UUID]:
        """Store the outcomes and their effects, all of them or none; the ids of the jobs whose lease still held."""
        if any(job.kind in self._also for job in jobs):
            return errors.again(lambda: self._store_with_more(jobs))

        def store() -> set[uuid.UUID]:
            with self._committing.connect() as connection:
                return self._statements.store(connection, jobs)

        return errors.again(store)

    def needs_more(self, kind: str) -> bool:
        """Whether jobs of the kind are stored in a transaction of several statements. Two kinds may write to the same
        rows in it, each in their order: together they would cross another's transaction."""
        return kind in self._also

    def _store_with_more(self, jobs: Sequence[Job]) -> set[uuid.UUID]:
        with self._engine.begin() as connection:
            kept = self._statements.store(connection, jobs)
            self._store_also(connection, [job for job in jobs if job.id in kept])
        return kept

    def _store_also(self, connection: Connection, jobs: Sequence[Job]) -> None:
        for kind, also in self._also.items():
            if mine := [job for job in jobs if job.kind == kind]:
                also(connection, mine)

    def stored_before(self, jobs: Sequence[Job]) -> dict[uuid.UUID, bool]:
        """See Statements.stored_before."""
        with self._committing.connect() as connection:
            return self._statements.stored_before(connection, jobs)

    def owned(self, job_ids: Collection[uuid.UUID], *, worker: str) -> list[Job]:
        """See app.queue.statements.owned."""
        with self._committing.connect() as connection:
            return statements.owned(connection, job_ids, worker=worker)

    def sweep(self, queue: str, step: Callable[[Sweep], int]) -> int:
        """What the step counts; 0 when another worker sweeps.

        Each step is a transaction. Together they would lock what jobs are about in no order; and none waits for a job:
        one that somebody else is at is being claimed or stored, and is looked at in the next round.
        """

        def run() -> int:
            with self._engine.begin() as connection:
                if not connection.scalar(select(func.pg_try_advisory_xact_lock(locks.SWEEP))):
                    return 0
                return step(Sweep(connection, queue, self._statements, self._store_also))

        return errors.again(run)


@dataclass(frozen=True, kw_only=True)
class Overdue:
    """A pending job that is not known to be on the queue."""

    id: uuid.UUID
    kind: str
    run_at: datetime
    enqueued_at: datetime | None


class Sweep:
    """One step of a sweep, in its transaction."""

    def __init__(
        self,
        connection: Connection,
        queue: str,
        made: Statements,
        also: Callable[[Connection, Sequence[Job]], None],
    ) -> None:
        self._connection, self._queue, self._statements, self._also = connection, queue, made, also

    def expire(self, *, last: bool, error: str) -> list[Job]:
        """The jobs whose lease is over, of which this ends the attempt: their `last` or one before it. They are dead
        then, or pending and due. `error`: what is stored as the reason."""
        jobs = self._statements.expire(self._connection, queue=self._queue, last=last, error=error)
        self._also(self._connection, jobs)
        return jobs

    def pending(self, *, due_for: timedelta) -> int:
        """How many jobs have been due for so long."""
        statement = select(func.count()).where(
            Row.queue == self._queue, Row.state == "pending", Row.run_at < func.now() - due_for
        )
        return self._connection.scalar(statement) or 0

    def overdue(
        self, *, after: Overdue | None, due_for: timedelta, enqueued_for: timedelta | None, most: int
    ) -> list[Overdue]:
        """A page of the jobs that have been due for so long and were never seen on the queue, or, unless
        `enqueued_for` is None, not for that time."""
        stale = false() if enqueued_for is None else Row.enqueued_at < func.now() - enqueued_for
        statement = (
            select(Row.id, Row.kind, Row.run_at, Row.enqueued_at)
            .where(
                Row.queue == self._queue,
                Row.state == "pending",
                Row.run_at < func.now() - due_for,
                or_(Row.enqueued_at.is_(None), stale),
            )
            .order_by(Row.run_at, Row.id)
            .limit(most)
        )
        if after is not None:
            statement = statement.where(tuple_(Row.run_at, Row.id) > (after.run_at, after.id))
        return [Overdue(**row._mapping) for row in self._connection.execute(statement)]

    def mark(self, job_ids: Collection[uuid.UUID]) -> None:
        """These pending jobs are on the queue now."""
        if job_ids:
            mine = locks.in_order(Row.id, Row.id.in_(job_ids), Row.state == "pending", skip_locked=True)
            self._connection.execute(update(Row).where(Row.id.in_(mine)).values(enqueued_at=func.now()))
